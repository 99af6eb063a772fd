"""The page of a run that goes on: what there is, nothing that is not, and one line for what is no run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.report_folders import write_curve, write_run, write_scores

from m2m.errors import RunFolderError
from m2m.pipeline.report import write_report

CONFIG = """
[run]
target = "law"
[train]
steps = 4
batch = 2
learning_rate = 0.1
[setup]
kind = "python"
datasets = ["a", "b", "c"]
"""


def page_of(root: Path) -> str:
    return write_report(root).read_text(encoding="utf-8")


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    write_run(tmp_path, CONFIG)
    page = page_of(tmp_path)
    assert "<h1>Not finished yet</h1>" in page
    assert "0 of 3 experts" in page
    assert "Experts come first." in page
    assert "Regret over evaluations" not in page


def test_a_run_that_has_merged_some(tmp_path: Path) -> None:
    write_run(tmp_path, CONFIG)
    write_scores(tmp_path, "abc", merged=5, trained=3)
    write_curve(tmp_path, "experts", "a", [3.0, 2.0, 1.0])
    page = page_of(tmp_path)
    assert "<h1>Not finished yet: <b>a + b</b> leads</h1>" in page
    for said in (
        "1 of 3 experts",
        "5 of 7",
        "Every mixture that was merged",
        "Training curves",
        "concludes nothing",
    ):
        assert said in page
    for absent in ("Train on", "Test scores", "fidelity"):
        assert absent not in page


def test_several_targets_have_no_leader_yet(tmp_path: Path) -> None:
    write_run(tmp_path, CONFIG.replace('"law"', "{ law = 1, code = 2 }"))
    write_scores(tmp_path, "abc", merged=5)
    write_scores(tmp_path, "abc", merged=5, target="code")
    page = page_of(tmp_path)
    assert "<h1>Not finished yet</h1>" in page
    assert "Several targets count together" in page


def test_a_configuration_of_another_m2m_is_shown_as_it_is(tmp_path: Path) -> None:
    write_run(tmp_path, '[from_the_future]\nkey = "<b>"\n')
    write_scores(tmp_path, "ab", merged=3)
    page = page_of(tmp_path)
    assert "key = &quot;&lt;b&gt;&quot;" in page


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is no run folder: wanted run\.json in it"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
