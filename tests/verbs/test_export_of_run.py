"""`m2m export` of a run: where its datasets lie is taken from its own configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import m2m
from m2m.exporting import Sources
from m2m.pipeline.run_folder import RunFolder

SETUP = """
[setup]
kind = "language"
[setup.datasets.law]
files = "law.jsonl"
[setup.datasets.web]
files = "web*.jsonl"
[setup.datasets.part]
files = "part.jsonl"
limit = 3
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What export reads of a finished run: its pick, configuration, and where that lay."""
    for name in ("law", "web1", "web2", "part"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "this"}\n')
    names = ["law", "web", "part"]
    content = {"datasets": names, "picked": names, "recipe": {"sampling": "balanced"}}
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    (folder.root / "results.json").write_text(json.dumps(content))
    folder.config.write_text(SETUP)
    folder.identity.write_text(json.dumps({"identity": "0", "root": str(tmp_path)}))
    return folder.root


def lines(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_dataset_of_one_whole_file_lies_there(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    m2m.export(run, "trl", tmp_path / "out.yaml")
    text = lines(tmp_path / "out.yaml")
    assert str(tmp_path / "law.jsonl") in text
    assert "path: web" in text
    assert "path: part" in text
    assert not caplog.text


def test_a_path_that_is_given_counts_and_is_looked_for(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    m2m.export(run, "trl", tmp_path / "out.yaml", Sources({"law": "gone.jsonl", "web": "org/name"}))
    text = lines(tmp_path / "out.yaml")
    assert "gone.jsonl" in text
    assert str(tmp_path) not in text
    assert "law: there is no file gone.jsonl" in caplog.text
    assert "org/name" not in caplog.text
