"""`m2m search` on a user's own models and on a run's table: right picks, kept scores, clear errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.lora_files import save_adapter
from safetensors.torch import save_file

from m2m.checkpoint import save
from m2m.cli import main
from m2m.mixture import Mixture, all_subsets
from m2m.scoring import Scores, ScoreSource
from m2m.scoring.table import ScoreTable
from m2m.support.content_keys import content_key

#: Loss (w − 1)² and distance |w| of a model with one weight: a merged model's is known by hand.
TASK = """
import torch

METRICS = {"loss": False}

def model():
    return torch.nn.Linear(1, 1, bias=False)

def loss(model):
    with open("calls", "a") as calls:
        calls.write("x")
    return {"loss": (model.weight[0] - 1.0) ** 2}

def size(model):
    return {"loss": model.weight[0].abs()}
"""
SLOPES = {"a": 4.0, "b": -2.0, "c": 9.0}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a base, three experts and two tasks, that commands run in."""
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(TASK, encoding="utf-8")
    for name, slope in {"base": 0.0, **SLOPES}.items():
        save({"weight": torch.tensor([[slope]])}, tmp_path / name)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What a finished run leaves: every subset's merged loss on two targets."""
    (tmp_path / "config.toml").write_text('[run]\ntarget = "main"\n', encoding="utf-8")
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        for mixture in all_subsets(["a", "b", "c"]):
            w = float(np.dot(mixture.weights, list(SLOPES.values())))
            key = content_key("merged", mixture.weights)
            for task, loss in (("main", (w - 1) ** 2), ("other", abs(w))):
                scores = Scores({"loss": np.array([loss])})
                table.add(key, mixture, "merged", None, task, "validation", "1", scores, {"loss": False})
    return tmp_path


def search(*more: str) -> int:
    ours = ["--base", "base", "--experts", "a", "b", "c", "--model", "task.py:model", "--out", "tried.csv"]
    return main(["search", *ours, *more])


@pytest.mark.usefixtures("bench")
def test_models_are_merged_and_scored_as_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert search("--task", "task.py:loss", "--strategy", "greedy", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["picked"], found["value"]) == ("a+b", 0.0)
    with Path("tried.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["candidate"]: float(row["value"]) for row in csv.DictReader(file)}
    assert rows["a"] == 9.0
    assert len(rows) == found["evaluations"]
    asked = len(Path("calls").read_text(encoding="utf-8"))
    assert asked == found["evaluations"]
    assert search("--task", "task.py:loss", "--strategy", "greedy", "-q") == 0
    assert len(Path("calls").read_text(encoding="utf-8")) == asked, "scores are kept"
    assert main(["export", "tried.csv", "--to", "csv", "--out", "shares.csv", "-q"]) == 0
    with Path("shares.csv").open(encoding="utf-8", newline="") as file:
        assert {tuple(row.values()) for row in csv.DictReader(file)} == {
            ("a", "0.5"),
            ("b", "0.5"),
            ("c", "0.0"),
        }


@pytest.mark.usefixtures("bench")
def test_the_simplex_is_searched_live(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--space", "simplex", "--strategy", "quadratic", "--budget", "12", "--cap", "a=0.4", "--json"]
    assert search("--task", "task.py:loss", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"]["a"] <= 0.4 + 1e-9
    assert found["value"] == pytest.approx(0.0, abs=1e-6)
    assert found["belief"]["pick"]["tried"]


@pytest.mark.usefixtures("bench")
def test_shares_and_a_scale_are_searched_live(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A weight of 12 is reached by no mixture: the furthest is `c` alone, 9."""
    Path("task.py").write_text(TASK.replace("- 1.0) ** 2", "- 12.0) ** 2"), encoding="utf-8")
    assert search("--task", "task.py:loss", "--space", "simplex", "--budget", "15", "--json") == 0
    there = json.loads(capsys.readouterr().out)
    assert (there["picked"], there["scale"], there["train_on"], there["value"]) == ("c", 1.0, "c", 9.0)
    asked = len(Path("calls").read_text(encoding="utf-8"))
    options = ["--task", "task.py:loss", "--space", "shares+scale", "--cap", "c=0.9", "--budget", "20"]
    assert search(*options, "--scale-range", "0.5", "1.8", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["value"] == pytest.approx(0.0, abs=1e-3)
    assert found["scale"] == pytest.approx(sum(found["weights"].values()))
    assert 1.3 <= found["scale"] <= 1.8 + 1e-9
    shares = Mixture.parse(found["train_on"], list(SLOPES)).shares
    assert shares["c"] <= 0.9 + 1e-9
    for name, weight in found["weights"].items():
        assert weight == pytest.approx(found["scale"] * shares[name])
    after = len(Path("calls").read_text(encoding="utf-8"))
    assert asked < after < asked + found["evaluations"], "what the simplex's search scored is kept"
    assert search(*options, "--scale-range", "0.5", "1.8") == 0
    assert len(Path("calls").read_text(encoding="utf-8")) == after
    said = capsys.readouterr().out
    assert "shares to train on: " in said
    assert "; scale of the merge: 1." in said
    assert main(["export", "tried.csv", "--to", "csv", "--out", "shares.csv", "-q"]) == 0
    with Path("shares.csv").open(encoding="utf-8", newline="") as file:
        exported = {name: float(share) for name, share in map(dict.values, csv.DictReader(file))}
    assert exported == pytest.approx(shares)
    assert "its shares are exported" in caplog.text


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space", "simplex", "--scale-range", "0.5", "2"], "--scale-range goes with --space shares+scale"),
        (["--space", "shares+scale", "--scale-range", "0", "2"], "scales must be a range above 0"),
        (["--space", "shares+scale", "--scale-range", "2", "1"], "scales must be a range above 0"),
        (["--space", "shares+scale", "--strategy", "greedy"], "Greedy searches Subsets, not ScaledSimplex"),
        (["--space", "shares+scale"], "does not end by itself here: give it a budget"),
        (["--cap", "a=0.5"], "go with --space simplex or shares+scale"),
    ],
)
def test_what_a_scale_does_not_go_with_is_said(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--task", "task.py:loss", *options) == 2
    assert message in capsys.readouterr().err
    assert not Path("tried.csv").exists()


def test_a_run_has_no_scores_of_scales(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(run_folder), "--space", "shares+scale", "--budget", "9"]) == 2
    assert "leave out --space shares+scale" in capsys.readouterr().err


@pytest.mark.usefixtures("bench")
def test_adapters_are_searched_as_they_are_scored(capsys: pytest.CaptureFixture[str]) -> None:
    """What the adapter adds to a weight of 0 is 4: the expert `a` in another form."""
    Path("task.py").write_text(
        TASK.replace("torch.nn.Linear(1, 1, bias=False)", "torch.nn.Sequential(torch.nn.Linear(1, 1, False))")
        .replace("model.weight", "model[0].weight"), "utf-8",
    )  # fmt: skip
    left, right = torch.tensor([[2.0]]), torch.tensor([[2.0]])
    save_adapter(Path("lora"), {"0.A": right, "0.B": left}, r=1, lora_alpha=1, target_modules=["0"])
    for name, slope in {"base0": 0.0, "b0": SLOPES["b"], "c0": SLOPES["c"]}.items():
        save({"0.weight": torch.tensor([[slope]])}, Path(name))
    ours = ["--base", "base0", "--experts", "lora", "b=b0", "c=c0", "--model", "task.py:model"]
    ours += ["--out", "tried.csv", "--task", "task.py:loss"]
    assert main(["search", *ours, "--strategy", "exhaustive", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["picked"], found["value"]) == ("lora+b", 0.0)
    asked = Path("calls").read_text(encoding="utf-8")
    assert main(["score", *ours, "-q"]) == 0
    assert Path("calls").read_text(encoding="utf-8") == asked, "the same scores"


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("strategy", ["exhaustive", "greedy", "beam", "model"])
def test_a_round_is_merged_in_one_pass(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []
    walk = ScoreSource.walk
    monkeypatch.setattr(
        ScoreSource, "walk", lambda self, rows, *more: walks.append(len(rows)) or walk(self, rows, *more)
    )
    assert search("--task", "task.py:loss", "--strategy", strategy, "--budget", "5", "-q") == 0
    assert sum(walks) == 5, "nothing is scored that was not asked for"
    assert max(walks) >= 3


@pytest.mark.usefixtures("bench")
def test_tasks_are_traded_and_limited(capsys: pytest.CaptureFixture[str]) -> None:
    two = ["--task", "task.py:loss", "task.py:size", "--strategy", "exhaustive", "--json"]
    assert search(*two, "--weigh", "task.py:loss=1", "--keep", "task.py:size>=3.4") == 0
    assert json.loads(capsys.readouterr().out)["picked"] == "b+c"
    assert search(*two, "--weigh", "task.py:loss=0.01", "task.py:size=1") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picked"] == "a+b"
    assert [point["candidate"] for point in found["front"]] == ["a+b"]


@pytest.fixture
def recorded_run(tmp_path: Path) -> Path:
    """A run of five datasets whose scores come with 64 examples each, alike from model to model."""
    generator = np.random.default_rng(0)
    names = ["a", "b", "c", "d", "e"]
    hard = generator.gamma(2.0, 1.0, 64)
    slopes = generator.normal([[0.0], [0.3], [1.5], [2.0], [2.5]], 0.3, (len(names), 64))
    (tmp_path / "config.toml").write_text('[run]\ntarget = "main"\n', encoding="utf-8")
    with ScoreTable(tmp_path / "scores.sqlite") as table:
        for mixture in all_subsets(names):
            x = np.array(mixture.weights)
            loss = hard + x @ slopes + (x**2).sum() * np.linspace(0.8, 1.2, 64)
            key = content_key("merged", mixture.weights)
            scores = Scores({"loss": loss})
            table.add(key, mixture, "merged", None, "main", "validation", "1", scores, {"loss": False})
    return tmp_path


@pytest.mark.parametrize("strategy", ["exhaustive", "model", "greedy"])
def test_a_race_picks_the_same_from_half_the_examples(
    strategy: str, recorded_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", str(recorded_run), "--strategy", strategy, "--budget", "31"]
    assert main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*command, "--race", "--json", "--out", str(recorded_run / "tried.csv")]) == 0
    raced = json.loads(capsys.readouterr().out)
    assert (raced["picked"], raced["value"]) == (plain["picked"], plain["value"])
    assert raced["race"]["of"] == 64 * raced["evaluations"]
    assert raced["race"]["evaluations"] <= raced["race"]["of"] / 2
    with (recorded_run / "tried.csv").open(encoding="utf-8", newline="") as file:
        errors = {row["candidate"]: float(row["error"]) for row in csv.DictReader(file)}
    assert errors[raced["picked"]] == 0
    assert max(errors.values()) > 0
    assert main([*command, "--race"]) == 0
    assert "example evaluations, " in capsys.readouterr().out


@pytest.mark.usefixtures("bench")
def test_live_models_race_on_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    Path("rows.py").write_text(
        "import torch\n\ndef model():\n    return torch.nn.Linear(3, 2, bias=False)\n", encoding="utf-8"
    )
    for name in ("base", "a", "b", "c"):
        save({"weight": torch.randn(2, 3, generator=generator)}, Path(name + "3"))
    features = torch.randn(100, 3, generator=generator)
    labels = (features[:, 0] > 0).long()
    save_file({"input": features, "label": labels}, "rows.safetensors")
    command = [
        "search", "--base", "base3", "--experts", "a=a3", "b=b3", "c=c3", "--model", "rows.py:model",
        "--task", "classify:rows.safetensors", "--metric", "loss", "--strategy", "exhaustive",
        "--out", "t.csv",
    ]  # fmt: skip
    assert main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    Path("t.sqlite").unlink()
    assert main([*command, "--json", "--race"]) == 0
    raced = json.loads(capsys.readouterr().out)
    assert raced["picked"] == plain["picked"]
    # A race takes the rows in other batches, whose products end in other last bits of float32.
    assert raced["value"] == pytest.approx(plain["value"], rel=100 * 2**-24)
    assert raced["race"]["evaluations"] < raced["race"]["of"] == 700


def test_a_prior_from_curvature_is_read_and_used(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The loss is (w − 1)² at w = λ·slopes, so its expansion at the base, w = 0, is exact.
    names = ["c", "a", "b"]
    slopes = np.array([SLOPES[name] for name in names])
    quadratic = {
        "constant": 1.0,
        "slope": (-2 * slopes).tolist(),
        "curvature": (2 * np.outer(slopes, slopes)).tolist(),
        "target": "main",
    }
    path = run_folder / "curvature.json"
    path.write_text(json.dumps({"datasets": names, "quadratic": quadratic}), encoding="utf-8")
    assert main(["search", str(run_folder), "--prior", str(path), "--budget", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picked"] == "a+b"

    for change, more, said in (
        ({"target": "other"}, [], "describes the loss on other, the search is about loss on main"),
        ({"slope": [1.0]}, [], "shapes [1] and [3, 3]"),
        ({"slope": ["x", "y", "z"]}, [], "quadratic.slope[0] is 'x', wanted a number"),
        ({}, ["--strategy", "greedy"], "--prior goes with --strategy model or quadratic"),
    ):
        path.write_text(json.dumps({"datasets": names, "quadratic": quadratic | change}), encoding="utf-8")
        assert main(["search", str(run_folder), "--prior", str(path), *more]) == 2
        assert said in capsys.readouterr().err
    path.write_text(json.dumps({"datasets": ["a", "b"], "quadratic": quadratic}), encoding="utf-8")
    assert main(["search", str(run_folder), "--prior", str(path)]) == 2
    assert "is about the datasets ['a', 'b']" in capsys.readouterr().err
    for text, said in (("{}", "is not a curvature.json"), ("{", "not JSON")):
        path.write_text(text, encoding="utf-8")
        assert main(["search", str(run_folder), "--prior", str(path)]) == 2
        assert said in capsys.readouterr().err
    assert main(["search", str(run_folder), "--prior", "nowhere.json"]) == 2
    assert "cannot read a curvature.json" in capsys.readouterr().err


def test_a_finished_run_is_searched_without_models(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(run_folder), "--budget", "7"]) == 0
    assert "picked: a+b\nmain 0: best of 7 tried" in capsys.readouterr().out
    assert main(["search", str(run_folder), "--target", "other", "--include", "c", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["picked"], found["value"]) == ("b+c", 3.5)


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--strategy", "greedi", "--task", "task.py:loss"],
            "'greedi' (did you mean 'greedy'?)",
        ),
        (["--task", "task.py:loss", "task.py:size"], "several tasks, say --weigh"),
        (["--task", "task.py:loss", "--weigh", "task.py:los=1"], "(did you mean 'task.py:loss'?)"),
        (["--task", "task.py:loss", "--keep", "loss=3"], "wanted TASK>=BOUND"),
        (["--task", "task.py:loss", "--keep", "task.py:loss<=-1"], "relax a limit or raise the budget"),
        (["--task", "task.py:loss", "--cap", "a=0.4"], "--cap and --floor go with --space simplex"),
        (["--task", "task.py:loss", "--space", "simplex"], "give it a budget"),
        (["--task", "task.py:loss", "--storage", "s.sqlite"], "--storage goes with"),
        (["--task", "task.py:loss", "--race"], "task.py:loss gives all at once"),
        (
            [
                "--task",
                "task.py:loss",
                "task.py:size",
                "--weigh",
                "task.py:loss=1",
                "task.py:size=1",
                "--race",
            ],
            "--race compares mixtures on the examples of one task",
        ),
        (["--task", "task.py:loss", "--strategy", "regmix", "--budget", "5"], "at least 48 scored mixtures"),
        (["--task", "task.py:loss", "--group", "a+x"], "unknown datasets ['x'] in groups"),
        (["--task", "task.py:loss", "--metric", "los"], "no metric 'los'"),
        (["--task", "task.py:loss", "--out", "nowhere/x.csv"], "there is no folder nowhere"),
        (["--task", "task.py:loss", "--memory", "1"], "not enough memory for mode resident"),
        (["--task", "task.py:loss", "--mode", "streamed"], "task.py:loss needs a whole model"),
        (["--task", "task.py:loss", "--device", "gpu"], "wanted cpu, cuda, or cuda:1"),
    ],
)
def test_wrong_input_is_one_line(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(*more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1


def test_two_scores_of_one_mixture_are_not_one(
    recorded_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScoreTable(recorded_run / "scores.sqlite") as table:
        [row] = table.rows(candidate="a")
        mixture = Mixture(tuple(row.weights), tuple(row.weights.values()))
        scores = Scores({"loss": row.examples + 1})
        table.add("other", mixture, "merged", None, "main", "validation", "1", scores, {"loss": False})
    assert main(["search", str(recorded_run)]) == 2
    assert "more than one score of 'a' on 'main'" in capsys.readouterr().err


def test_scores_of_two_versions_of_a_task_are_not_mixed(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = Mixture(("a", "b", "c"), (0.2, 0.3, 0.5))
    with ScoreTable(run_folder / "scores.sqlite") as table:
        scores = Scores({"loss": np.array([1.0])})
        table.add("new", mixture, "merged", None, "main", "validation", "2", scores, {"loss": False})
    assert main(["search", str(run_folder)]) == 2
    assert "scores of different versions of main, which cannot be compared" in capsys.readouterr().err


def test_wrong_runs_are_one_line(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = str(tmp_path_factory.mktemp("empty"))
    for words, said in (
        ([empty], "is no run folder"),
        ([str(run_folder), "--target", "mian"], "no target 'mian' (did you mean 'main'?)"),
        ([str(run_folder), "--space", "simplex"], "leave out --space simplex"),
        ([str(run_folder), "--base", "b"], "a RUN folder, or --base and --experts"),
        ([], "a RUN folder, or --base and --experts"),
        ([str(run_folder), "--split", "test"], "no scores of merged models on the test split"),
    ):
        assert main(["search", *words]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.usefixtures("bench")
def test_scores_are_not_replaced_by_what_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--base", "base", "--experts", "a", "b", "c", "--model", "task.py:model"]
    assert main(["score", *models, "--task", "task.py:loss", "--out", "tried.csv", "-q"]) == 0
    scores = Path("tried.csv").read_bytes()
    assert search("--task", "task.py:loss") == 2
    assert "holds scores of `m2m score`" in capsys.readouterr().err
    assert Path("tried.csv").read_bytes() == scores
