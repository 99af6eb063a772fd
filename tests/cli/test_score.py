"""`m2m score` on a user's own model and task: right scores, resumed work, clear errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from m2m.checkpoint import save
from m2m.cli import main

#: f(x) = w·x + b at x = 1, 2, 3; the score is f itself, so a merged model's is known by hand.
TASK = """
import torch

METRICS = {"output": True}

def model():
    return torch.nn.Linear(1, 1)

def outputs(model):
    with open("calls", "a") as calls:
        calls.write("x")
    return {"output": model(torch.tensor([[1.0], [2.0], [3.0]]))[:, 0]}
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base, two experts and the task, that commands run in."""
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(TASK, encoding="utf-8")
    for name, slope, offset in (("base", 0.0, 0.0), ("up", 2.0, 1.0), ("down", -4.0, 0.0)):
        save({"weight": torch.tensor([[slope]]), "bias": torch.tensor([offset])}, tmp_path / name)
    return tmp_path


def score(*more: str) -> int:
    ours = ["--base", "base", "--experts", "up", "lower=down", "--out", "scores.csv", "--quiet"]
    return main(["score", *ours, "--task", "task.py:outputs", "--model", "task.py:model", *more])


def values() -> dict[str, float]:
    with Path("scores.csv").open(newline="", encoding="utf-8") as file:
        return {row["candidate"]: float(row["value"]) for row in csv.DictReader(file)}


@pytest.mark.usefixtures("bench")
def test_merged_models_are_scored_and_selected(capsys: pytest.CaptureFixture[str]) -> None:
    assert score() == 0
    # Mean over x = 1, 2, 3 of (mean slope)·x + (mean offset).
    assert values() == {"up": 5.0, "lower": -8.0, "up+lower": -1.5}
    assert main(["select", "scores.csv", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["picked"], got["runner_up"]["difference"]["n"]) == ("up", 3)


@pytest.mark.usefixtures("bench")
def test_the_same_command_scores_only_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.csv").write_text("up,lower\n1,0\n0.25,0.75\n", encoding="utf-8")
    assert score("--candidates", "few.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["scored_now"] == 2
    assert score("--json") == 0
    assert json.loads(capsys.readouterr().out) == {"scores": "scores.csv", "candidates": 3, "scored_now": 2}
    assert Path("calls").read_text(encoding="utf-8") == "xxxx"
    assert values()["up=0.25+lower=0.75"] == -2.5 * 2 + 0.25


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--candidates", "none.csv"], "cannot read the candidates none.csv"),
        (["--experts", "up", "none"], "none"),
        (["--task", "task.py:missing"], "missing"),
        (["--model", "task.py:modle"], "no function 'modle' (did you mean 'model'?)"),
        (["--target", "t"], "without --target"),
        (["--setup", "run.toml"], "score needs a task"),
        (["--out", "nowhere/scores.csv"], "no folder nowhere"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1
    assert not Path("scores.csv").exists()


@pytest.mark.usefixtures("bench")
def test_weights_off_the_simplex_are_no_mixture(capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.csv").write_text("up,lower\n1,1\n", encoding="utf-8")
    assert score("--candidates", "few.csv") == 2
    assert "must sum to 1" in capsys.readouterr().err
