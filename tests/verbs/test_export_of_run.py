"""`m2m export` of a run: where its datasets lie is taken from its own configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import m2m
from m2m.errors import InputError
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
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("web: is 2 files, and trl loads one file whole: make one of it and say ")
    assert said[1].startswith(
        f"part: is a part of {tmp_path}/part.jsonl (limit), and trl loads one file whole"
    )


def test_what_names_no_files_warns_of_none(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    m2m.export(run, "json", tmp_path / "out.json")
    assert not caplog.text


def test_a_pattern_that_is_given_is_looked_for(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = {"web": str(tmp_path / "web*.jsonl"), "part": "org/part"}
    m2m.export(run, "trl", tmp_path / "out.yaml", Sources(paths))
    assert f"data_files: {tmp_path}/web*.jsonl" in lines(tmp_path / "out.yaml")
    assert not caplog.text


def test_a_text_file_is_lines_to_a_trainer(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "law.txt").write_text("one\ntwo\n")
    config = RunFolder(run).config
    config.write_text(config.read_text().replace("law.jsonl", "law.txt"))
    m2m.export("law=1", "trl", tmp_path / "typed.yaml")
    assert not caplog.text
    m2m.export(run, "trl", tmp_path / "out.yaml", Sources({"web": "org/web", "part": "org/part"}))
    assert f"law: trainers take each line of {tmp_path}/law.txt for a row" in caplog.text


def test_counts_beyond_what_a_run_read_are_refused(run: Path, tmp_path: Path) -> None:
    read = [{"kind": "dataset", "name": "law", "documents": 5, "repeats": 2, "blanks": 1}]
    RunFolder(run).data.write_text(json.dumps({"read": read}))
    places = Sources({"web": "org/web", "part": "org/part"}, total=24)
    m2m.export(run, "axolotl", tmp_path / "out.yaml", places)
    assert "split: train[:8]" in lines(tmp_path / "out.yaml")
    with pytest.raises(InputError, match="9 examples of 'law' are wanted and it has 8"):
        m2m.export(run, "axolotl", tmp_path / "more.yaml", replace(places, total=27))


def test_shares_of_a_mix_lie_where_the_run_s_datasets_do(run: Path, tmp_path: Path) -> None:
    (run / "mix").mkdir()
    (run / "mix" / "mix.json").write_text("{}")
    (run / "mix" / "mixture.json").write_text('{"law": 0.25, "web": 0.75}')
    m2m.export(run / "mix", "trl", tmp_path / "out.yaml", Sources({"web": "org/web"}))
    assert f"data_files: {tmp_path}/law.jsonl" in lines(tmp_path / "out.yaml")


def test_a_path_that_is_given_counts_and_is_looked_for(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    m2m.export(run, "trl", tmp_path / "out.yaml", Sources({"law": "gone.jsonl", "web": "org/name"}))
    text = lines(tmp_path / "out.yaml")
    assert "gone.jsonl" in text
    assert str(tmp_path) not in text
    assert "law: there is no file gone.jsonl" in caplog.text
    assert "org/name" not in caplog.text
