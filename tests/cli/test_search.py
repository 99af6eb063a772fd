"""`m2m search` on a user's own models and on a run's table: right picks, kept scores, clear errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from m2m.checkpoint import save
from m2m.cli import main
from m2m.evaluate import Scores
from m2m.mixture import all_subsets
from m2m.surrogate import ScoreTable, content_key

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


@pytest.mark.usefixtures("bench")
def test_the_simplex_is_searched_live(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--space", "simplex", "--strategy", "quadratic", "--budget", "12", "--cap", "a=0.4", "--json"]
    assert search("--task", "task.py:loss", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"]["a"] <= 0.4 + 1e-9
    assert found["value"] == pytest.approx(0.0, abs=1e-6)
    assert found["belief"]["pick"]["tried"]


@pytest.mark.usefixtures("bench")
def test_tasks_are_traded_and_limited(capsys: pytest.CaptureFixture[str]) -> None:
    two = ["--task", "task.py:loss", "task.py:size", "--strategy", "exhaustive", "--json"]
    assert search(*two, "--weigh", "task.py:loss=1", "--keep", "task.py:size>=3.4") == 0
    assert json.loads(capsys.readouterr().out)["picked"] == "b+c"
    assert search(*two, "--weigh", "task.py:loss=0.01", "task.py:size=1") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picked"] == "a+b"
    assert [point["candidate"] for point in found["front"]] == ["a+b"]


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
        (["--task", "task.py:loss", "--group", "a+x"], "unknown datasets ['x'] in groups"),
        (["--task", "task.py:loss", "--metric", "los"], "no metric 'los'"),
        (["--task", "task.py:loss", "--out", "nowhere/x.csv"], "--out PATH in a folder that exists"),
    ],
)
def test_wrong_input_is_one_line(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(*more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1


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
