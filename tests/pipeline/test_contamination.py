"""What targets and datasets of a run have in common: measured once, kept, noted and reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m2m import pipeline
from m2m.cli import main
from m2m.errors import RunFolderError
from m2m.pipeline import config, contamination
from m2m.pipeline.report import write_report

CONFIG = """
[run]
target = "goal"
baselines = false

[train]
steps = 2
batch = 4
learning_rate = 1e-3

[setup]
kind = "language"
model = "byte-gpt"
base = { layers = 1, width = 16, heads = 2, context = 48, steps = 2, text.prose.files = "prose.txt" }

[setup.datasets]
tales.files = "tales.jsonl"
again.files = "again.jsonl"

[setup.targets]
goal.files = "goal.jsonl"

[setup.targets.quiz]
task = "choice"
file = "quiz.jsonl"
"""


TALE = ("once", "there", "was", "a", "king", "who", "had", "three", "sons", "and", "no", "crown", "at", "all")


def story(number: int) -> str:
    return " ".join(f"{word}{number}" for word in TALE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = {
        "tales": [{"prompt": f"Tell {n}:", "completion": story(n)} for n in range(30)],
        "again": [{"prompt": f"Say {n}:", "completion": story(n)} for n in (*range(3), *range(40, 60))],
        "goal": [{"prompt": f"Tale {n}?", "completion": story(n)} for n in range(28, 60)],
        "quiz": [{"question": story(n + 25), "choices": ["yes", "no"], "answer": 0} for n in range(10)],
    }
    for name, content in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (tmp_path / "prose.txt").write_text("One and two are three. " * 20)
    (tmp_path / "c.toml").write_text(CONFIG)
    return tmp_path / "c.toml"


def test_a_run_measures_it_once_and_says_and_reports_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = config.load(path)
    folder = pipeline.run(loaded, tmp_path / "run", workers=1)
    found = json.loads(folder.contamination.read_text())
    of = {(one["target"], one["split"], one["dataset"]): one for one in found["overlaps"]}
    splits = ("validation", "test")
    assert sum(of["goal", split, "tales"]["shared"] for split in splits) == 2
    assert sum(of["goal", split, "again"]["shared"] for split in splits) == 20
    assert sum(of["quiz", split, "tales"]["shared"] for split in splits) == 5
    assert sum(of["quiz", split, "tales"]["in_answers"] for split in splits) == 0
    assert [one["across"] for one in found["duplicates"]] == [{"again": 3}, {"tales": 3}]
    (note,) = (note for note in folder.notes if note.startswith("target quiz: dataset tales"))
    assert f"…/{tmp_path.name}/quiz.jsonl, line " in note
    assert f"…/{tmp_path.name}/tales.jsonl, line " in note
    page = write_report(folder.root).read_text()
    assert "<td>goal, test</td><td>again</td>" in page
    assert "<td>again</td><td>23</td><td>0</td><td>tales 3</td>" in page

    monkeypatch.setattr(contamination, "measured_contamination", None)
    assert pipeline.run(loaded, tmp_path / "run", workers=1).notes == folder.notes
    folder.contamination.write_text('{"made_from": "?", "overlaps": 3}')
    with pytest.raises(RunFolderError, match=r"contamination.json is not .*: duplicates is missing"):
        pipeline.run(loaded, tmp_path / "run", workers=1)


def test_a_dry_run_notes_it_and_keeps_nothing(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(path), "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "m2m: note: target goal: dataset again has some of it" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
