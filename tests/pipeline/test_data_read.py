"""The table of what was read: in the run folder, before the run begins, and in the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.linear_setup import run_config

from m2m import pipeline
from m2m.cli import main
from m2m.errors import RunFolderError
from m2m.pipeline import config
from m2m.pipeline.report import write_report
from m2m.setups.rows.inventory import HEAD

CONFIG = """
[run]
target = "goal"

[train]
steps = 2
batch = 4
learning_rate = 1e-3

[setup]
kind = "language"
model = "byte-gpt"
base = { layers = 1, width = 16, heads = 2, context = 16, steps = 2, text.prose.files = "prose.txt" }

[setup.datasets]
sums.files = "sums.jsonl"
prose.files = "prose.txt"

[setup.targets]
goal.files = "goal.jsonl"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sums = [{"prompt": f"{n}+1=", "completion": f"{n + 1}"} for n in range(40)]
    long = {"prompt": "1 + 1 = 1 + 1 = 1 + 1 = ", "completion": "2"}
    rows = {
        "sums": [*sums, sums[0], long],
        "goal": [*sums[35:], *({**row, "prompt": "x"} for row in sums[:20])],
    }
    for name, content in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (tmp_path / "prose.txt").write_text("One and two are three. " * 20)
    (tmp_path / "c.toml").write_text(CONFIG)
    return tmp_path / "c.toml"


class Told:
    """Progress that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, done: int, total: int, what: str) -> None:
        self.lines.append(f"({what})")

    def say(self, lines: Sequence[str]) -> None:
        self.lines += lines


def test_a_run_keeps_says_and_reports_what_it_read(path: Path, tmp_path: Path) -> None:
    told = Told()
    folder = pipeline.run(config.load(path), tmp_path / "run", workers=1, progress=told)
    sums = json.loads(folder.data.read_text())["read"][0]
    assert (sums["documents"], sums["examples"], sums["dropped"], sums["repeats"]) == (41, 40, 1, 1)
    table = [line for line in told.lines if line.startswith(("data ", "sums ", "prose ", "target goal"))]
    assert len(table) == 5
    assert told.lines.index(table[-1]) < told.lines.index("(experts, steps)")
    assert any(note.startswith("target goal: dataset sums has some of it") for note in folder.notes)
    assert all(f"note: {note}" in told.lines for note in folder.notes)
    assert "epochs of experts, 2 × 4 examples each: 0.2 of sums, 0.286 of prose" in told.lines
    page = write_report(folder.root).read_text()
    assert "<td>sums</td><td>0.2</td>" in page
    picked = folder.read_results()["picked"]
    assert page.count("<td>–</td><td>–</td><td>–</td>") == 2 - len(picked)
    assert all(f"<th>{column}</th>" in page for column in HEAD)
    assert "target goal: dataset sums has some of it" in page


def test_the_command_line_shows_the_table_and_quiet_does_not(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(path), "--out", str(tmp_path / "run"), "--workers", "1"]
    assert main(command) == 0
    assert "m2m: sums " in capsys.readouterr().err
    assert main([*command, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_a_set_up_of_ones_own_tells_how_many_examples_there_are(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(run_config("seed = 3"))
    folder = pipeline.run(config.load(tmp_path / "run.toml"), tmp_path / "run", workers=1)
    inventory = folder.read_data()
    assert inventory is not None
    assert [part.name for part in inventory.parts if part.kind == "dataset"] == ["a", "b", "c"]
    assert all(part.examples > 0 and part.tokens is None for part in inventory.parts)
    folder.data.write_text('{"context": 3, "read": [{"kind": "dataset"}]}')
    with pytest.raises(RunFolderError, match=r"data.json is not what a run read: read\[0\].name is missing"):
        write_report(folder.root)
    folder.data.unlink()
    assert "What was read" not in write_report(folder.root).read_text()
