"""Runs side by side: what differs and what is the same thing, in rows; mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.report_folders import finished, write_run, write_scores

from m2m.cli import main
from m2m.errors import ConfigError, RunFolderError
from m2m.pipeline.compare import compare

CONFIG = '[run]\ntarget = "law"\n[train]\nsteps = {}\nbatch = 2\n[setup]\nkind = "python"\n'


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    found = []
    for name, steps, trained, picked in (("short", 40, 5, "ab"), ("long", 80, 6, "b")):
        root = tmp_path / name
        root.mkdir()
        write_run(root, CONFIG.format(steps))
        write_scores(root, "abc", trained=trained)
        seconds = {"experts": float(steps), "surrogate": 10.0}
        (root / "results.json").write_text(json.dumps(finished("abc", picked, seconds=seconds)))
        found.append(root)
    return found


def test_rows_have_a_value_a_run(runs: list[Path]) -> None:
    found = compare(runs)
    assert found.runs == ["short", "long"]
    assert found.configuration == {"train.steps": [40, 80]}
    assert found.picks["train on"] == ["a + b", "b"]
    assert found.cost == {"experts": [40.0, 80.0], "surrogate": [10.0, 10.0], "total": [50.0, 90.0]}
    rows = found.mixtures["law"]
    assert rows["a + c, trained"][0] == rows["a + c, trained"][1]
    assert "b + c, trained" not in rows  # the first run did not train it
    assert "b + c, merged" in rows
    assert found.notes == ()


def test_a_run_that_goes_on_has_what_it_has(runs: list[Path]) -> None:
    (runs[1] / "results.json").unlink()
    found = compare(runs)
    assert found.picks["train on"] == ["a + b", None]
    assert found.mixtures["law"]
    assert found.notes == ("long has not finished: it has what it has so far",)


def test_other_examples_are_no_silent_comparison(runs: list[Path]) -> None:
    for place, root in enumerate(runs):
        identity = json.loads((root / "run.json").read_text())
        identity["contents"] = {
            "target law": f"hash {place}",
            "dataset a": f"hash {place}",
            "target x": "same",
        }
        (root / "run.json").write_text(json.dumps(identity))
    assert compare(runs).notes == (
        "target law has other examples in each: its scores are not of the same thing",
        "dataset a has other content in each",
    )


def test_the_command_prints_one_table_or_json(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["short", "long"]
    assert lines[2].split() == ["train.steps", "40", "80"]
    assert main(["compare", *map(str, runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["configuration"] == {"train.steps": [40, 80]}


def test_mistakes(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two run folders or more, got 1"):
        compare(runs[:1])
    with pytest.raises(ConfigError, match="the same run twice"):
        compare([runs[0], runs[0]])
    with pytest.raises(RunFolderError, match=r"is no run folder: wanted run\.json in it"):
        compare([runs[0], tmp_path])
