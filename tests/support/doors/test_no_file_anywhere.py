"""A pipe, a folder, a device or a loop in place of any file that a command reads: exit code 2, at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import analysis.cli
from m2m.cli import main

#: What is put in a file's place.
KINDS = ("pipe", "folder", "device", "loop")
#: Commands, `X` in place of what they read.
COMMANDS = [
    "merge X out",
    "merge recipe.yml out --candidates X",
    "merge of_x.yml out",
    "verify X",
    "verify done",
    "score --base X --experts a --task f.py:f --model f.py:model --out s.csv",
    "score --base a --experts X --task f.py:f --model f.py:model --out s.csv",
    "score --base a --experts a --task lm:X --model f.py:model --context 4 --out s.csv",
    "score --base a --experts a --task choice:X --model f.py:model --context 4 --out s.csv",
    "score --base a --experts a --task classify:X --model f.py:model --context 4 --out s.csv",
    "score --base a --experts a --task classify:X.safetensors --model f.py:model --context 4 --out s.csv",
    "score --base a --experts a --task X.py:f --model f.py:model --out s.csv",
    "score --base a --experts a --task f.py:f --model f.py:model --candidates X --out s.csv",
    "score --base a --experts a --setup X --target t --out s.csv",
    "run X --out r",
    "mix X --out r",
    "select X",
    "select table.csv",
    "search X",
    "search run",
    "predict --mixtures X --scores table.csv --target y",
    "predict --mixtures table.csv --scores X --target y",
    "export X --to llama-factory --out o",
    "export run --to llama-factory --out o",
    "report X",
    "report run",
    "analysis fidelity X --merged x --trained y --out o",
    "analysis orthogonality X --out o",
    "analysis orthogonality --base X --experts a --out o",
    "analysis orthogonality --base a --experts X --out o",
    "analysis curvature X --out o",
    "analysis validate X --out o",
]
FUNCTIONS = """
import torch
METRICS = {"m": True}
def f(model):
    return {"m": [1.0]}
def model():
    return torch.nn.Linear(2, 2)
"""


def put(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path.name)


@pytest.fixture
def soon() -> Iterator[None]:
    """Fail where something waits for ever."""

    def waited(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prepare a folder in which everything that commands read is of one kind that is no file."""
    monkeypatch.chdir(tmp_path)
    kind = str(request.param)
    for name in ("a", "run", "done"):
        (tmp_path / name).mkdir()
    save_file({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, "a/model.safetensors")
    linear = "merge_method: linear\nmodels:\n  - {{model: {}, parameters: {{weight: 1.0}}}}\n"
    Path("recipe.yml").write_text(linear.format("a"), encoding="utf-8")
    Path("of_x.yml").write_text(linear.format("X"), encoding="utf-8")
    Path("f.py").write_text(FUNCTIONS, encoding="utf-8")
    header = "candidate,members,origin,seed,task,split,metric,value,higher_is_better"
    rows = [
        f'{name},"[""{name}""]",merged,,t,validation,loss,{value},False'
        for name, value in (("u", 1), ("v", 2))
    ]
    Path("table.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    for name in ("X", "X.py", "X.safetensors", "table.sqlite", "done/manifest.json"):
        put(kind, tmp_path / name)
    for name in ("results.json", "scores.sqlite", "run.json", "config.toml"):
        put(kind, tmp_path / "run" / name)
    return kind


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_refused_at_once(
    command: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.split()
    run: Callable[[list[str]], int] = main
    if words[0] == "analysis":
        run, words = analysis.cli.main, words[1:]
    code = run(words)
    err = capsys.readouterr().err
    if (command, place) == ("select table.csv", "loop"):  # a link to itself leads to no table: there is none
        assert code == 0
        return
    assert code == 2, err
    assert "Traceback" not in err
    assert sum(": error: " in line for line in err.splitlines()) == 1
    assert not Path("out").exists()
