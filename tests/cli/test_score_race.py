"""`m2m score --race`: finds what scoring everything finds, for less; keeps what is finished; clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from m2m.checkpoint import save
from m2m.cli import main
from m2m.scoring.table import ScoreTable

EXAMPLES, CANDIDATES = 80, 15
TASK = """
import torch

METRICS = {"norm": True}

def model():
    return torch.nn.Linear(4, 3)

def norm(model):
    return {"norm": float(model.weight.norm())}

class Broken(torch.nn.Linear):
    def forward(self, input):
        return super().forward(input) / (input[:, :1] != 7)

def broken():
    return Broken(4, 3)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base, four experts of which `b` and `c` know the labels, and the examples."""
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(TASK, encoding="utf-8")
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(3, 4, generator=generator)
    inputs = torch.randn(EXAMPLES, 4, generator=generator)
    save_file({"input": inputs, "label": (inputs @ truth.T).argmax(1)}, "data.safetensors")
    noise = {name: torch.randn(3, 4, generator=generator) for name in "abcd"}
    experts = {"base": 0 * truth, "a": noise["a"], "d": noise["d"]}
    experts |= {name: 3 * truth + noise[name] for name in "bc"}
    for name, weight in experts.items():
        save({"weight": weight, "bias": torch.zeros(3)}, tmp_path / name)
    return tmp_path


def run(*more: str) -> int:
    ours = ["--base", "base", "--experts", "a", "b", "c", "d", "--out", "scores.csv", "--quiet"]
    return main(["score", *ours, "--model", "task.py:model", "--task", "classify:data.safetensors", *more])


def race(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert run("--race", "--json", *more) == 0
    printed: dict[str, object] = json.loads(capsys.readouterr().out)
    assert json.loads(Path("scores.race.json").read_text(encoding="utf-8")) == printed
    return printed


def means(metric: str) -> pd.Series:
    with ScoreTable(Path("scores.sqlite")) as table:
        return pd.Series({row.candidate: row.value for row in table.rows(metric=metric)})


def test_the_winner_is_that_of_scoring_everything(capsys: pytest.CaptureFixture[str]) -> None:
    found = race(capsys, "--metric", "loss", "--budget", "40%")
    assert (found["task"], found["metric"]) == ("classify:data.safetensors", "loss")
    assert found["evaluations"] + found["saved"] == CANDIDATES * EXAMPLES
    assert found["evaluations"] == found["evaluated_now"] <= found["budget"] == 0.4 * CANDIDATES * EXAMPLES
    assert found["contenders"][0] == found["winner"]
    runners = pd.read_csv("scores.race.csv").set_index("candidate")
    assert len(runners) == CANDIDATES
    assert runners.seen.sum() == found["evaluations"]
    assert (runners.seen == EXAMPLES).sum() == found["finished"] == len(means("loss"))
    assert set(runners.index[runners.contender]) == set(found["contenders"])
    assert set(runners.left.dropna()) <= {"hopeless", "budget"}
    assert json.loads(runners.weights["a+b"]) == {"a": 0.5, "b": 0.5, "c": 0.0, "d": 0.0}
    assert run() == 0
    assert found["winner"] == means("loss").idxmin()


def test_scores_that_are_there_cost_nothing_and_finished_ones_are_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run() == 0
    whole = means("accuracy")
    found = race(capsys, "--budget", "1.0")
    assert (found["evaluated_now"], found["merges"]) == (0, 0)
    assert found["winner"] == whole.idxmax()
    for suffix in (".csv", ".sqlite", ".race.csv", ".race.json"):
        Path("scores").with_suffix(suffix).unlink()
    few = race(capsys, "--budget", "1.0", "--confidence", "0.999")
    kept = means("accuracy")
    assert 1 <= len(kept) == few["finished"]
    np.testing.assert_array_equal(kept, whole[kept.index])
    again = race(capsys, "--budget", "1.0", "--confidence", "0.999")
    assert again["evaluated_now"] == few["evaluated_now"] - few["finished"] * EXAMPLES
    assert (again["winner"], again["probability"]) == (few["winner"], few["probability"])


def test_the_seed_decides_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    first = race(capsys, "--seed", "4", "--budget", "200")
    table = Path("scores.race.csv").read_bytes()
    Path("scores.sqlite").unlink()
    second = race(capsys, "--seed", "4", "--budget", "200")
    assert table == Path("scores.race.csv").read_bytes()
    assert first["winner"] == second["winner"]
    Path("scores.sqlite").unlink()
    race(capsys, "--seed", "5", "--budget", "200")
    assert table != Path("scores.race.csv").read_bytes()


def test_people_read_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--base", "base", "--experts", "a", "b", "--out", "scores.csv", "--model", "task.py:model"]
    assert main(["score", *arguments, "--task", "classify:data.safetensors", "--race"]) == 0
    out, err = capsys.readouterr()
    assert "has the highest accuracy on classify:data.safetensors: P = " in out
    assert "all candidates: scores.race.csv" in out
    assert "example evaluations" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--race", "--budget", "20"], "too small: 15 candidates need at least 30"),
        (["--race", "--budget", "1.5"], "float in (0, 1]), got 1.5"),
        (["--race", "--metric", "fluency"], "has no metric 'fluency'; it has ['accuracy', 'loss']"),
        (["--race", "--confidence", "2"], "confidence must lie between 0 and 1, got 2"),
        (["--race", "--mode", "streamed"], "--race goes with --mode resident"),
        (["--race", "--task", "task.py:norm"], "task.py:norm is scored as a whole"),
        (["--race", "--task", "task.py:norm", "classify:data.safetensors"], "a race is run on one task, got"),
        (["--race", "--memory", "100B"], "not enough memory for mode resident"),
        (["--budget", "0.2"], "--budget goes with --race"),
        (["--seed", "1"], "--seed goes with --race"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1
    assert not list(Path().glob("scores*"))


def test_a_nan_names_candidate_and_example(capsys: pytest.CaptureFixture[str]) -> None:
    inputs = torch.randn(EXAMPLES, 4, generator=torch.Generator().manual_seed(3))
    data = {"input": inputs, "label": torch.zeros(EXAMPLES, dtype=torch.int64)}
    data["input"][17, 0] = 7
    save_file(data, "data.safetensors")
    assert run("--race", "--budget", "1.0", "--model", "task.py:broken") == 2
    err = capsys.readouterr().err
    assert "candidate " in err
    assert "of example 17 is" in err


def test_a_budget_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("--race", "--budget", "much")
    assert "'much' is neither a share, as 0.2 or 20%, nor a count" in capsys.readouterr().err
