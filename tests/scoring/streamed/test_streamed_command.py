"""`m2m score --mode streamed` as users meet it: counts, progress, interruptions, wrong input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import commands

import m2m
from m2m.checkpoint import save
from m2m.cli import main
from m2m.scoring.table import ScoreTable

#: A model of two blocks if memory is short, one that can be held, one with a part that no checkpoint holds.
MODEL = """
import os
import time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(256, 96)
        self.inner = nn.ModuleList(nn.Linear(96, 96) for _ in range(2))
        self.head = nn.Linear(96, 256)
        self.rows = self.embed.weight.detach() * 2

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.inner:
            x = layer(x).tanh()
        return self.head(x)

class Held(Net):
    # The third call, of the second candidate after the rehearsal and the first, waits to be let go.
    def forward(self, tokens):
        with open("calls", "a") as calls:
            calls.write("x")
        while os.stat("calls").st_size == 3 and os.path.exists("hold"):
            time.sleep(0.001)
        return super().forward(tokens)

class Remembers(Net):
    def forward(self, tokens):
        return super().forward(tokens) @ self.rows.T[:1].T

METRICS = {"score": True}

def whole(model):
    return {"score": 1.0}
"""
NAMES = "abc"
Change = Callable[[dict[str, torch.Tensor]], None]
#: Room for all seven candidates, but only for half of the network.
SHORT = "6.5MiB"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base, three experts, the module and a text, that commands run in."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODEL, encoding="utf-8")
    Path("text.txt").write_text(
        "Eighty bytes of text are five windows of sixteen bytes, each of them is a row..."
    )
    for seed, name in enumerate(("base", *NAMES)):
        write(tmp_path / name, seed)
    return tmp_path


def replace(path: str, seed: int, change: Change) -> None:
    shutil.rmtree(path)
    write(Path(path), seed, change)


def write(path: Path, seed: int, change: Change = lambda state: None) -> None:
    shapes = {"embed.weight": (256, 96), "head.weight": (256, 96), "head.bias": (256,)}
    for layer in range(2):
        shapes |= {f"inner.{layer}.weight": (96, 96), f"inner.{layer}.bias": (96,)}
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}
    change(state)
    save(state, path)


def arguments(*more: str) -> list[str]:
    ours = ["--base", "base", "--experts", *NAMES, "--task", "lm:text.txt", "--model", "net.py:Net"]
    return ["score", *ours, "--context", "16", "--mode", "streamed", "--out", "scores.csv", *more]


HELD = arguments("--model", "net.py:Held", "--passes", "7", "--json")


def values() -> dict[str, list[float]]:
    with ScoreTable(Path("scores.sqlite")) as table:
        return {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}


def kept() -> list[str]:
    return [*values()]


def leftovers() -> set[str]:
    return {path.name for path in Path().iterdir()} - {*NAMES, "base", "net.py", "text.txt", "__pycache__"}


def score(**more: object) -> m2m.scoring.ScoreReport:
    options = {"tasks": ["lm:text.txt"], "model": "net.py:Net", "context": 16, "mode": "streamed"} | more
    return m2m.score("base", list(NAMES), out="scores.csv", **options)


@pytest.mark.usefixtures("models")
def test_counts_are_in_the_report_of_this_mode_only(capsys: pytest.CaptureFixture[str]) -> None:
    size = sum(tensor.nbytes for name in NAMES for tensor in m2m.Checkpoint(name).tensors.values())
    assert main(arguments("--memory", SHORT, "--json", "--quiet")) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["mode"], got["bytes_read"], got["passes"]) == ("streamed", size, 1)
    assert got["blocks"] > 1
    streamed = values()
    Path("scores.sqlite").unlink()
    assert main(arguments("--mode", "resident", "--json", "--quiet")) == 0
    got = json.loads(capsys.readouterr().out)
    assert [got[key] for key in ("bytes_read", "bytes_spilled", "blocks", "passes")] == [None] * 4
    assert values() == streamed


@pytest.mark.usefixtures("models")
def test_progress_counts_blocks_and_people_are_told_what_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments("--passes", "3")) == 0
    out, err = capsys.readouterr()
    assert "m2m: pass 1 of 3, block 1 of 1, steps 1/7" in err
    assert "m2m: pass 3 of 3, block 1 of 1, steps 7/7" in err
    assert "of experts in 3 passes, 3 blocks; spilled 0 B" in out


@pytest.mark.usefixtures("models")
def test_progress_goes_up_by_one_to_its_total() -> None:
    told: list[tuple[int, int]] = []
    score(memory=SHORT, progress=lambda done, total, what: told.append((done, total)))
    assert told == [(step, len(told)) for step in range(1, len(told) + 1)]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("stop", "finished"), [(1, 0), (5, 0), (7, 2), (9, 4), (13, 5)])
def test_an_interruption_leaves_what_was_finished_and_nothing_else(stop: int, finished: int) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        assert total == 14  # 4 candidates and then 3, through 2 blocks each
        if done == stop:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        score(memory="6MiB", passes=2, progress=interrupt)
    assert threading.active_count() == before
    assert leftovers() == {"scores.sqlite"}
    assert len(kept()) == finished
    assert score(memory=SHORT).scored_now == 7 - finished


@pytest.mark.usefixtures("models")
def test_ctrl_c_ends_the_command_and_the_same_one_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = interrupted_in_the_middle(tmp_path)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "m2m: interrupted; the same command goes on from here"
    assert "Traceback" not in said
    assert leftovers() == {"scores.sqlite", "calls"}
    done = len(kept())
    assert 0 < done < 7
    assert main(HELD) == 0
    assert json.loads(capsys.readouterr().out)["scored_now"] == 7 - done


@pytest.mark.usefixtures("models")
def test_a_command_that_was_started_deaf_to_ctrl_c_goes_on(tmp_path: Path) -> None:
    deaf = interrupted_in_the_middle(tmp_path, lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    _, said = deaf.communicate()
    assert deaf.returncode == 0, said
    assert len(kept()) == 7


def interrupted_in_the_middle(
    folder: Path, prepare: Callable[[], object] | None = None
) -> subprocess.Popen[str]:
    """Start the command and send it a Ctrl-C while its second candidate is held fast."""
    hold, calls = folder / "hold", folder / "calls"
    hold.touch()
    process = commands.start(*HELD, cwd=folder, prepare=prepare)
    commands.wait_for(lambda: calls.exists() and calls.stat().st_size == 3, process)
    process.send_signal(signal.SIGINT)
    hold.unlink()
    return process


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--memory", "4.3MiB"],
            "is too small for the block of embed.weight: 3 experts' tensors",
        ),
        (["--memory", "4.7MiB"], "is too small: one batch's activations take up to"),
        (["--task", "net.py:whole"], "whole needs a whole model, so candidates cannot be streamed block by"),
        (
            ["--model", "net.py:Remembers"],
            "uses a tensor [256, 96] in aten.numpy_T.default that",
        ),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("--quiet", *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("m2m: error: ")
    assert error.count("\n") == 1
    assert leftovers() == set()


@pytest.mark.usefixtures("models")
def test_an_expert_with_a_nan_is_named_and_earlier_scores_stay(capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.csv").write_text("a,b,c\n1,0,0\n0.5,0,0.5\n", encoding="utf-8")

    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["inner.1.bias"][3] = torch.nan

    replace("b", 2, spoil)
    assert main(arguments("--quiet", "--candidates", "few.csv")) == 0, "b has no weight, so is not read"
    assert main(arguments("--quiet")) == 2
    error = capsys.readouterr().err
    assert error == "m2m: error: b, tensor inner.1.bias: element [3] is nan (0 of 5 candidates are kept)\n"
    assert kept() == ["a", "a+c"]


@pytest.mark.usefixtures("models")
def test_a_shard_that_goes_missing_is_named_and_finished_parts_stay() -> None:
    def remove(done: int, total: int, what: str) -> None:
        if what.startswith("pass 2"):
            Path("b/model.safetensors").unlink(missing_ok=True)

    with pytest.raises(
        m2m.errors.CheckpointError,
        match=r"^b, tensor \S+: cannot read b/model.safetensors: No such file or directory \(4 of 7",
    ):
        score(memory="6MiB", passes=2, progress=remove)
    assert len(kept()) == 4


@pytest.mark.usefixtures("models")
def test_a_score_that_is_not_finite_names_its_candidate_and_costs_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def burst(state: dict[str, torch.Tensor]) -> None:
        state["head.bias"].fill_(-3e38)
        state["head.bias"][0] = 3e38

    replace("a", 1, burst)
    Path("few.csv").write_text("a,b,c\n0,1,0\n1,0,0\n0,0.5,0.5\n", encoding="utf-8")
    assert main(arguments("--quiet", "--candidates", "few.csv")) == 2
    said = capsys.readouterr().err
    assert "candidate a: task lm:text.txt (validation): loss of example 0 is" in said
    assert "(2 of 3 candidates are kept)" in said
    assert kept() == ["b", "b+c"]
