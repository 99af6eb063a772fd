"""`m2m mix` on experts that were trained elsewhere: the right shares, kept scores, wrong input in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import m2m
from m2m.checkpoint import save
from m2m.cli import main
from m2m.pipeline.mix_options import MixOptions

#: Losses (w·x − x)² and (w·x + x)² of a model with one weight, for 20 x: best at w = 1 and at w = −1.
TASK = """
import torch

METRICS = {"loss": False}
X = torch.linspace(0.5, 1.5, 20)

def model():
    return torch.nn.Linear(1, 1, bias=False)

def plus(model):
    with open("calls", "a") as calls:
        calls.write("x")
    return {"loss": (model.weight[0, 0] * X - X) ** 2}

def minus(model):
    return {"loss": (model.weight[0, 0] * X + X) ** 2}
"""
SLOPES = {"a": 4.0, "b": -2.0, "c": 9.0}
OPTIONS = '[mix]\nregressor = "scheffe"\nseeds = 12\npoints = 512\ntop_k = 5\nbootstrap = 3\n'


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(TASK, encoding="utf-8")
    Path("how.toml").write_text(OPTIONS, encoding="utf-8")
    for name, slope in {"base": 0.0, **SLOPES}.items():
        save({"weight": torch.tensor([[slope]])}, Path(name))


def mix(*more: str) -> int:
    ours = ["--base", "base", "--experts", "a", "b", "c", "--model", "task.py:model", "--out", "out"]
    return main(["mix", "how.toml", *ours, *more])


def slope(weights: dict[str, float]) -> float:
    return sum(share * SLOPES[name] for name, share in weights.items())


def test_the_best_shares_are_found_drawn_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert mix("--task", "task.py:plus", "--to", "json=shares.json", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert slope(found["weights"]) == pytest.approx(1.0, abs=0.05)
    assert found["targets"]["task.py:plus"]["base"] == pytest.approx(
        float((torch.linspace(0.5, 1.5, 20) ** 2).mean())
    )
    assert json.loads(Path("shares.json").read_text())["datasets"] == ["a", "b", "c"]
    for name in ("mix.json", "mix.png", "candidates.csv", "mixture.json", "scores.sqlite"):
        assert (Path("out") / name).stat().st_size, name
    asked = Path("calls").stat().st_size
    assert mix("--task", "task.py:plus", "--seed", "0", "-q") == 0
    assert Path("calls").stat().st_size == asked, "scores are kept"


def test_tasks_are_weighed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("how.toml").write_text(
        OPTIONS + 'capabilities = {"task.py:plus" = 1, "task.py:minus" = 3}\n', encoding="utf-8"
    )
    assert mix("--task", "task.py:plus", "task.py:minus", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert slope(whole["weights"]) < 0.5
    weights = {name: entry["weight"] for name, entry in whole["targets"].items()}
    assert weights == {
        "task.py:plus": 0.25,
        "task.py:minus": 0.75,
    }


def test_anchored_experts_are_merged_to_stand_for_the_shares(capsys: pytest.CaptureFixture[str]) -> None:
    share, mean = 0.5, sum(SLOPES.values()) / 3
    for name, own in SLOPES.items():  # as if training were linear in the data
        save({"weight": torch.tensor([[share * own + (1 - share) * mean]])}, Path(f"anchored/{name}"))
    Path("how.toml").write_text(OPTIONS + f"anchor = {share}\n", encoding="utf-8")
    assert mix("--task", "task.py:plus", "--json", "--experts", *(f"{n}=anchored/{n}" for n in SLOPES)) == 0
    anchored = json.loads(capsys.readouterr().out)
    Path("how.toml").write_text(OPTIONS, encoding="utf-8")
    assert mix("--task", "task.py:plus", "--json", "--out", "plain") == 0
    plain = json.loads(capsys.readouterr().out)
    assert anchored["weights"] == pytest.approx(plain["weights"], abs=1e-3)
    assert slope(anchored["weights"]) == pytest.approx(1.0, abs=0.05)
    assert mix("--task", "task.py:plus", "--out", "plain") == 0
    assert "own data" not in capsys.readouterr().out
    Path("how.toml").write_text(OPTIONS + f"anchor = {share}\n", encoding="utf-8")
    assert mix("--task", "task.py:plus", "--experts", *(f"{n}=anchored/{n}" for n in SLOPES)) == 0
    said = "merged of anchored experts (anchor = 0.5: own data, the rest of all datasets)"
    assert said in capsys.readouterr().out


def test_in_python_without_a_file() -> None:
    options = MixOptions(regressor="scheffe", seeds=12, points=256, top_k=5, bootstrap=0)
    Path("how.toml").write_text("[mix]\nregressor = 'scheffe'\nseeds = 12\nbootstrap = 0\n", encoding="utf-8")
    found = m2m.mix(
        "how.toml", "out", base="base", experts=["a", "b", "c"], tasks=["task.py:plus"], model="task.py:model"
    )
    assert slope(found.mixture.shares) == pytest.approx(1.0, abs=0.05)
    assert found.options["seeds"] == options.seeds
    assert found.trained == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "there is nothing to score on"),
        (["--task", "task.py:plus", "--train"], "nothing is trained"),
        (
            ["--task", "task.py:plus", "--executor", "dask"],
            "--executor must be local, ray, or ray://HOST:PORT",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mix(*more) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("repetitions = 4", "give caps"),
        ("pairs = true", "pairs trains models on two datasets each, which needs a run configuration"),
        (
            "capabilities = {'task.py:puls' = 1}",
            "[mix]: capabilities: there is no 'task.py:puls' (did you",
        ),
        ("caps = {d = 0.5}", "caps: there is no 'd'"),
    ],
)
def test_options_that_experts_cannot_follow(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("how.toml").write_text(OPTIONS + line + "\n", encoding="utf-8")
    assert mix("--task", "task.py:plus") == 2
    assert said in capsys.readouterr().err


def test_a_configuration_takes_no_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mix", "how.toml", "--out", "out", "--task", "task.py:plus"]) == 2
    assert "--base, --experts and a task" in capsys.readouterr().err
    assert main(["mix", "--out", "out"]) == 2
    assert "needs a run configuration" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run.json", "candidates.csv", "mixture.json"])
def test_what_others_keep_in_a_folder_is_not_written_over(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    (Path("out") / name).write_text("mine", encoding="utf-8")
    assert mix("--task", "task.py:plus") == 2
    assert f"--out out: holds {name} of something else" in capsys.readouterr().err
    assert [path.name for path in Path("out").iterdir()] == [name]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("priors = [{a = nan, b = 2}]", "must give numbers by name"),
        ("seeds = 1_000_000_000_000", "seeds may be 100000 at most"),
    ],
)
def test_options_beyond_reason(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("how.toml").write_text(f"[mix]\n{line}\n", encoding="utf-8")
    assert mix("--task", "task.py:plus") == 2
    assert said in capsys.readouterr().err


def test_a_configuration_takes_no_split(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mix", "how.toml", "--out", "out", "--split", "test"]) == 2
    assert "--split goes with the latter" in capsys.readouterr().err


def test_a_mode_that_is_none_is_refused_before_any_work() -> None:
    with pytest.raises(m2m.errors.ConfigError, match=r"mode must be one of 'auto', 'resident'.*, got 'foo'"):
        m2m.run("absent.toml", "out", mode="foo")
