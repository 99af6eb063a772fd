"""`m2m.score` on a device: every kind of task has its tensors there, and scores are kept apart by device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.second_device import second_device

import m2m
from m2m.checkpoint import save
from m2m.cli import main
from m2m.scoring import score_experts as run
from m2m.scoring import source
from m2m.scoring.table import ScoreTable

#: A byte model of which text, choices, classes and a function of one's own can be asked.
TASK = """
import torch
from torch import nn

METRICS = {"norm": True, "devices": True}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(256, 8), nn.Linear(8, 256)

    def forward(self, tokens):
        return self.head(self.embed(tokens))

class Classes(Net):
    def forward(self, tokens):
        return super().forward(tokens).mean(dim=1)

def norm(model):
    tensors = list(model.parameters())
    places = {tensor.device for tensor in tensors}
    return {"norm": tensors[0].norm(dim=1), "devices": [float(len(places))] * 256}
"""
DEVICES = ["lazy", pytest.param("cuda", marks=pytest.mark.gpu)]

COMMAND = [
    "score",
    "--base",
    "base",
    "--experts",
    "a",
    "b",
    "--task",
    "lm:text.txt",
    "--model",
    "task.py:Net",
    "--context",
    "8",
    "--out",
    "s.csv",
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a device that is not the CPU."""
    if request.param == "lazy":
        lazy = second_device(monkeypatch)
        open_device, free_bytes = run.open_device, source.free_bytes
        monkeypatch.setattr(run, "open_device", lambda n: lazy if n == "lazy" else open_device(n))
        monkeypatch.setattr(source, "free_bytes", lambda d: 2**32 if d == lazy else free_bytes(d))
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base, two experts and the tasks' files, that commands run in."""
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(TASK, encoding="utf-8")
    Path("text.txt").write_text("A text of a few windows, byte by byte.", encoding="utf-8")
    Path("quiz.jsonl").write_text('{"question": "1+1=", "choices": ["2", "3"], "answer": 0}', "utf-8")
    generator = torch.Generator().manual_seed(3)
    tokens, label = torch.randint(256, (5, 7), generator=generator), torch.tensor([0, 255, 3, 4, 5])
    safetensors.torch.save_file({"tokens": tokens, "label": label}, tmp_path / "classes.safetensors")
    shapes = {"embed.weight": (256, 8), "head.weight": (256, 8), "head.bias": (256,)}
    for name in ("base", "a", "b"):
        state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        save(state, tmp_path / name)
    return tmp_path


def scores(device: str, out: str, tasks: list[str], **more: str) -> m2m.scoring.ScoreReport:
    return m2m.score("base", ["a", "b"], tasks=tasks, out=out, context=8, device=device, **more)


def values(out: str) -> dict[tuple[str, str, str], np.ndarray]:
    with ScoreTable(Path(out).with_suffix(".sqlite")) as table:
        return {(row.candidate, row.task, row.metric): row.examples for row in table.rows()}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("model", "tasks"),
    [
        ("Net", ["lm:text.txt", "choice:quiz.jsonl", "task.py:norm"]),
        ("Classes", ["classify:classes.safetensors"]),
    ],
)
@pytest.mark.parametrize("memory", ["1GiB", "50KiB"])
def test_every_task_is_scored_there(
    device: str, model: str, tasks: list[str], memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m2m.scoring.choice.STAGED_BYTES", 2**10)  # so that 50 KiB hold no expert
    more = {"model": f"task.py:{model}", "mode": "resident"}
    there = scores(device, "there.csv", tasks, memory=memory, **more)
    assert (there.mode, there.scored_now) == ("resident", 3)
    assert ("in host memory" in there.why) == (memory == "50KiB"), there.why
    scores("cpu", "here.csv", tasks, **more)
    got, wanted = values("there.csv"), values("here.csv")
    assert list(got) == list(wanted)
    for key, examples in wanted.items():
        # Sums of at most 256 terms of float32 in another order; losses and norms are of size 1 to 10.
        np.testing.assert_allclose(got[key], examples, rtol=512 * 2.0**-24, err_msg=str(key))


@pytest.mark.usefixtures("folder")
def test_scores_of_another_device_are_not_taken_for_these(device: str) -> None:
    def scored(name: str) -> int:
        return scores(name, "scores.csv", ["lm:text.txt"], model="task.py:Net", mode="resident").scored_now

    assert [scored("cpu"), scored(device), scored("cpu"), scored(device)] == [3, 3, 0, 0]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:999"])
def test_a_wrong_device_is_one_line_and_leaves_nothing(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--device", device]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"device {device!r}" in line
    assert not list(Path().glob("s.*"))


@pytest.mark.gpu
@pytest.mark.usefixtures("folder")
def test_the_command_says_where_it_scored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--device", "cuda", "--json"]) == 0
    assert "on cuda:0: 2 experts" in json.loads(capsys.readouterr().out)["why"]
