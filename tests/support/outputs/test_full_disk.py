"""A disk without room: one line that names the file, exit code 2, old files as they were, nothing beside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from helpers.small_files import small_files

import analysis.cli
import m2m.cli
from m2m.checkpoint import save

MODELS = "--base base --experts a b --task task.py:loss --model task.py:model"
VERBS = {
    "predict": "predict --mixtures x.csv --scores y.csv --target y --at x.csv --out out.csv --model ridge",
    "export": "export mixture.json --to json --out out.csv",
    "search a run": "search run --out out.csv",
    "report": "report run",
    "merge": "merge recipe.yml out",
    "m2m-analysis fidelity": "fidelity pairs.csv --merged merged --trained trained --out out",
}


@pytest.fixture
def place(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kit that a test may spoil."""
    folder = tmp_path / "kit"
    shutil.copytree(kit, folder, ignore=shutil.ignore_patterns("*fifo*", "loop*", "null*", "dangling*"))
    monkeypatch.chdir(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def run(verb: str) -> int:
    main = analysis.cli.main if verb.startswith("m2m-analysis") else m2m.cli.main
    return main(VERBS[verb].split())


@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_written_leaves_all_as_it_was(
    verb: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb) == 0  # with what it imports, some of which makes files
    shutil.rmtree(place / "out", ignore_errors=True)
    capsys.readouterr()
    if "out.csv" in VERBS[verb]:
        (place / "out.csv").write_text("old")
    (place / "run" / "report.html").write_text("old")
    before = names(place)
    with small_files(16):
        assert run(verb) == 2
    told = capsys.readouterr().err.splitlines()
    assert ": error: " in told[-1]
    assert any(name in told[-1] for name in ("out", "report.html")), told
    assert "Traceback" not in "\n".join(told)
    left = {name for name in names(place) - before if not name.endswith(("-wal", "-shm"))}  # SQLite's own
    assert left <= {"out", ".out.merging"}
    assert before <= names(place)
    if verb == "report":
        assert (place / "run" / "report.html").read_text() == "old"
    elif "out.csv" in VERBS[verb]:
        assert (place / "out.csv").read_text() == "old"
    assert run(verb) == 0


def test_scores_say_what_the_system_says_and_go_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["score", *MODELS.split(), "--out", "scores.csv", "-q"]
    with small_files(2000):  # not a page of the table
        assert m2m.cli.main(command) == 2
    told = capsys.readouterr().err
    assert "scores.sqlite" in told
    assert "the system does not read or write it: " in told
    assert "not a score table" not in told
    assert told.count("\n") == 1
    assert not (place / "scores.csv").exists()
    assert m2m.cli.main(command) == 0
    before = (place / "scores.csv").read_bytes()
    with small_files(100):  # the table has all scores; its CSV has no room
        assert m2m.cli.main(command) == 2
    assert (place / "scores.csv").read_bytes() == before
    assert not [name for name in os.listdir() if name.endswith(".new")]


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(place: Path) -> None:
    import torch

    with small_files(64), pytest.raises(OSError, match="weights"):
        save({"w": torch.zeros(100)}, place / "weights")
    assert not [name for name in os.listdir(place) if "weights" in name]
