"""`m2m score` on a user's own model and task: right scores, resumed work, clear errors."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import commands

from m2m.checkpoint import save
from m2m.cli import main
from m2m.errors import ConfigError
from m2m.scoring.example_scores import check_format
from m2m.scoring.table import ScoreTable

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
    save({"weight": torch.ones(1, 1), "extra": torch.ones(1)}, tmp_path / "odd")
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
    got = json.loads(capsys.readouterr().out)
    assert (got["scores"], got["candidates"], got["scored_now"], got["examples"]) == ("scores.csv", 3, 2, 6)
    assert (got["mode"], got["why"][:16]) == ("resident", "base, 2 experts,")
    assert got["wall_s"] > 0
    assert got["peak_rss_bytes"] > 2**20
    assert Path("calls").read_text(encoding="utf-8") == "xxxx"
    assert values()["up=0.25+lower=0.75"] == -2.5 * 2 + 0.25


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--candidates", "none.csv"], "cannot read the candidates (CSV) none.csv"),
        (["--experts", "up", "none"], "none"),
        (["--task", "task.py:missing"], "missing"),
        (["--model", "task.py:modle"], "no function 'modle' (did you mean 'model'?)"),
        (["--target", "t"], "without --target"),
        (["--setup", "run.toml"], "were both given"),
        (["--out", "nowhere/scores.csv"], "no folder nowhere"),
        (
            ["--memory", "39B"],
            "needs a whole model, so candidates cannot be streamed block by block: base, 2 exp",
        ),
        (
            ["--mode", "resident", "--memory", "15B"],
            "live module and a candidate take 16 B, the budget is 15 B",
        ),
        (["--examples", "e.txt"], "per-example scores are written as .csv or .parquet"),
        (["--examples", "nowhere/e.csv"], "there is no folder nowhere"),
        (["--task", "lm:none.txt"], "--context says how many"),
        (["--task", "lm:none.txt", "--context", "8"], "cannot read the task's file none.txt"),
        (["--experts", "up", "odd"], "odd: lacks tensors of base: 'bias'"),
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
    assert not list(Path().glob("scores*"))


@pytest.mark.usefixtures("bench")
def test_weights_off_the_simplex_are_told_of(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    Path("few.csv").write_text("up,lower\n1,1\n", encoding="utf-8")
    assert score("--candidates", "few.csv") == 0
    assert "few.csv: the weights of 1 of 1 candidates do not sum to one" in caplog.text
    Path("few.csv").write_text("up,lower\n1e308,1e308\n", encoding="utf-8")
    assert score("--candidates", "few.csv") == 2
    assert "must be finite" in capsys.readouterr().err


@pytest.mark.usefixtures("bench")
def test_renamed_experts_have_rows_of_their_own() -> None:
    assert score() == 0
    assert score("--experts", "up", "other=down") == 0
    assert set(values()) == {"up", "lower", "up+lower", "other", "up+other"}


@pytest.mark.usefixtures("bench")
def test_a_failing_candidate_is_named_and_the_others_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    weak = TASK.replace("return {", "assert model.weight.item() != -4\n    return {")
    Path("task.py").write_text(weak, encoding="utf-8")
    assert score() == 2
    assert "candidate lower: the task task.py:outputs fails: AssertionError()" in capsys.readouterr().err
    with ScoreTable(Path("scores.sqlite")) as table:
        assert [row.candidate for row in table.rows()] == ["up"]


@pytest.mark.usefixtures("bench")
def test_a_nan_names_candidate_and_example_and_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("task.py").write_text(
        TASK.replace("[:, 0]}", "[:, 0] / (model.weight.item() + 4)}"), encoding="utf-8"
    )
    assert score() == 2
    err = capsys.readouterr().err
    assert "candidate lower: task task.py:outputs (validation): output of example 0 is -inf" in err
    assert "(1 of 3 candidates are kept)" in err


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_example_can_be_had(suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    assert score("--examples", f"examples.{suffix}") == 0
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    frame = read(f"examples.{suffix}")
    assert list(frame.candidate.unique()) == ["up", "lower", "up+lower"]
    wanted = {"up": [3.0, 5.0, 7.0], "lower": [-4.0, -8.0, -12.0], "up+lower": [-0.5, -1.5, -2.5]}
    for candidate, found in frame.groupby("candidate"):
        assert found.value.tolist() == wanted[str(candidate)]
        assert found.example.tolist() == [0, 1, 2]


def test_parquet_without_pyarrow_is_one_error(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m2m.scoring.example_scores.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"parquet needs pyarrow: pip install 'm2m\[parquet\]'"):
        check_format(bench / "e.parquet")


#: Its fourth call waits to be killed.
HELD = """calls.write("x")
    import os, time
    while os.path.exists("hold") and os.stat("calls").st_size == 4:
        time.sleep(0.001)
"""


def test_a_kill_loses_at_most_the_candidate_in_flight(bench: Path) -> None:
    (bench / "task.py").write_text(TASK.replace('calls.write("x")', HELD), encoding="utf-8")
    (bench / "hold").touch()
    shutil.copytree(bench / "up", bench / "copy")
    command = (
        "score", "--base", "base", "--experts", "up", "lower=down", "third=copy", "--task", "task.py:outputs",
        "--model", "task.py:model", "--out", "scores.csv", "--quiet",
    )  # fmt: skip
    calls = bench / "calls"
    process = commands.start(*command, cwd=bench)
    commands.wait_for(lambda: calls.is_file() and len(calls.read_text()) == 4, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (bench / "hold").unlink()
    with ScoreTable(bench / "scores.sqlite") as table:
        kept = {row.candidate: row.examples.tolist() for row in table.rows()}
    assert len(kept) == 3
    assert not (bench / "scores.csv").exists()
    assert main(command) == 0
    assert len(calls.read_text()) == 4 + 7 - len(kept)
    with ScoreTable(bench / "scores.sqlite") as table:
        after = {row.candidate: row.examples.tolist() for row in table.rows()}
    assert len(after) == 7
    assert kept.items() <= after.items()


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # Every candidate has three examples but one.
        (
            "[:, 0]}", "[: 3 - int(model.weight.item() == -4), 0]}",
            r"candidate lower: .*output on task.py:outputs .*: got 2 examples, other models have 3",
        ),
        ("return {", "import sys; sys.exit(0)\n    return {", r"candidate up: the task .* sys.exit\(0\)"),
        ("[:, 0]}", "[:, 0].double() * 1e200}", r"candidate up: .*output of example 0 is 3e\+200, wanted"),
        # A module of the user's own, called by code of ours.
        ("torch.nn.Linear(1, 1)", "Weak(1, 1)", "task.py, line 9, in forward fails: ValueError"),
        ("torch.nn.Linear(1, 1)", "Leaving(1, 1)", r"task.py, line 13, in forward calls sys.exit\(3\)"),
        ("return torch", "import sys; sys.exit(0)\n    return torch", r"task.py:model calls sys.exit\(0\)"),
        ("import torch\n", "import torch, sys; sys.exit(0)\n", "fails while it is loaded: SystemExit"),
        ("import torch\n", "import torch, os; os._exit(0)\n", "fails while it is loaded: _Ending"),
        ("return torch.nn.Linear(1, 1)", "return None", "must return a torch module, got NoneType"),
        ("return torch.nn.Linear(1, 1)", "return Weak", "must return a torch module, got the class Weak"),
        ("(1, 1", "(1, 1, device='meta'", "the module's 'weight' is on the meta device"),
    ],
)  # fmt: skip
def test_what_a_users_code_does_wrong_is_said_and_not_scored(
    old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = TASK.replace("def model", MODULES + "def model").replace(old, new)
    Path("task.py").write_text(own, encoding="utf-8")
    task = ["--task", "lm:text", "--context", "4"] if new.endswith("(1, 1)") else []
    Path("text").write_text("some text", encoding="utf-8")
    assert score(*task) == 2
    err = capsys.readouterr().err
    assert err.startswith("m2m: error: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err


MODULES = """
class Weak(torch.nn.Linear):
    def forward(self, x):
        raise ValueError("x")

class Leaving(torch.nn.Linear):
    def forward(self, x):
        import sys; sys.exit(3)

"""
