"""The whole verb on very small models: experiments, results that are kept, figures and the page."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from helpers.subset_truth import toy

from analysis.cli import main
from analysis.papers import experiment as keeping
from analysis.papers.catalogue import EXPERIMENTS
from analysis.papers.configuration import EXAMPLES, changed_text, written
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.redraw import redo, results_folder
from analysis.papers.subsets import SubsetTruth
from analysis.studies.of_papers import redraw
from m2m.errors import ConfigError
from m2m.executors.local import Local
from m2m.support.progress import nobody


def test_experiments_are_done_once_and_the_page_follows_them(tmp_path: Path) -> None:
    one, out, page = toy(tmp_path), tmp_path / "out", tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    [done] = redraw([one], out, page, "fast", Local(1), nobody).study
    assert not done.kept
    results = out / "results" / "fast" / one.name
    found = json.loads((results / "result.json").read_text())
    choice, text = found["choice"], page.read_text()
    assert choice["by"]["picked"]["ahead"]["value"] == 0
    assert choice["by"]["oracle"]["regret"] == 0
    assert 0 <= choice["regret_of_random"] <= 1
    assert {way["utility"]["n"] for way in choice["by"].values()} == {2}
    training, scoring = 3 * 3 * 4, 16
    assert found["cost"]["by"]["merging"] == {
        "trainings": 4, "scored": 7, "forwards": 4 * training + 7 * scoring
    }  # fmt: skip
    merged = json.loads((results / "fidelity.json").read_text())["mixtures"]["pearson"]["value"]
    assert f"{merged:.2f}" in text
    for picture in ("merge_to_mix_correlation.png", f"{one.name}/fidelity_scatter.png"):
        assert f"(img/results/{picture})" in text
        assert (page.parent / "img" / "results" / picture).stat().st_size
        assert (out / "figures" / "fast" / picture).with_suffix(".pdf").stat().st_size

    before = {path: path.read_bytes() for path in [page, *sorted((out / "figures").rglob("*.*"))]}
    [again] = redraw([one], out, page, "fast", Local(1), nobody).study
    assert again.kept
    assert before == {path: path.read_bytes() for path in before}


def test_other_code_or_another_configuration_is_another_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = toy(tmp_path)
    key = keeping.key_of(one, "fast")
    assert key == keeping.key_of(one, "fast")
    assert key != keeping.key_of(one, "full")
    example = one.sizes["fast"].example
    example.write_text(example.read_text().replace("steps = 3", "steps = 4"))
    assert key != (changed := keeping.key_of(one, "fast"))
    monkeypatch.setattr(keeping, "_code", lambda: "other code")
    assert changed != keeping.key_of(one, "fast")


def test_what_was_interrupted_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    one, out = toy(tmp_path), tmp_path / "out"

    def interrupt(done: int, total: int, what: str) -> None:
        if what.startswith("trained mixtures") and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redraw([one], out, None, "fast", Local(1), interrupt)
    assert not list((out / "results").rglob("result.json"))
    experts = {path: path.stat().st_mtime_ns for path in out.rglob("experts/*/seed0/*.safetensors")}
    assert len(experts) == 3
    redraw([one], out, None, "fast", Local(1), nobody)
    assert experts == {path: path.stat().st_mtime_ns for path in experts}
    redraw([one], tmp_path / "afresh", None, "fast", Local(1), nobody)
    for path in [out / "results.md", *sorted((out / "results").rglob("*.*"))]:
        assert path.read_bytes() == (tmp_path / "afresh" / path.relative_to(out)).read_bytes(), path


def test_experiments_that_are_shared_out_find_the_same(tmp_path: Path) -> None:
    one = toy(tmp_path)
    both = [one, replace(one, name="merge_to_mix_vision", title="Another toy", fresh_seeds=3)]
    for out, workers in (("in turn", 1), ("shared out", 2)):
        done = redraw(both, tmp_path / out, None, "fast", Local(workers), nobody).study
        assert [(each.name, each.kept) for each in done] == [(each.name, False) for each in both]
    written = sorted((tmp_path / "in turn" / "results").rglob("*.*"))
    assert len(written) > 10
    for path in [tmp_path / "in turn" / "results.md", *written]:
        other = tmp_path / "shared out" / path.relative_to(tmp_path / "in turn")
        assert path.read_bytes() == other.read_bytes(), path


@dataclass(frozen=True)
class Slow:
    """An experiment that only takes its time, and finds when that was."""

    name: str
    models: str
    minutes = MappingProxyType({"fast": 1.0, "full": 1.0})

    def made_from(self, size: Size) -> str:
        return self.models

    def measure(self, place: Place, size: Size) -> Found:
        began = time.monotonic()
        time.sleep(0.2)
        return Found({"began": began, "ended": time.monotonic(), "process": os.getpid()})


def test_experiments_on_one_run_are_done_one_after_the_other(tmp_path: Path) -> None:
    slow = [Slow("a", "first"), Slow("b", "second"), Slow("c", "first"), Slow("d", "second")]
    done = redo(slow, tmp_path, "fast", Local(2), nobody)
    assert [one.name for one in done] == ["a", "b", "c", "d"]
    found = [
        json.loads((results_folder(tmp_path, "fast") / name / "result.json").read_text()) for name in "abcd"
    ]
    for first, second in ((0, 2), (1, 3)):
        assert found[first]["ended"] <= found[second]["began"]
        assert found[first]["process"] == found[second]["process"]
    assert found[0]["process"] != found[1]["process"]
    assert all(one.kept for one in redo(slow, tmp_path, "fast", Local(2), nobody))


SUBSETS = [one for one in EXPERIMENTS if isinstance(one, SubsetTruth)]


@pytest.mark.parametrize("one", SUBSETS, ids=lambda one: one.name)
def test_the_configurations_of_all_experiments_are_read(one: SubsetTruth, tmp_path: Path) -> None:
    for size, sized in one.sizes.items():
        text = changed_text(sized.example, sized.changes)
        # Another clone is at another place, and its results have the same key.
        assert str(EXAMPLES.parent) not in text
        loaded = written(text, tmp_path / f"{size}.toml", sized.files)
        template = loaded.setup.get("base", {}).get("chat_template")
        assert template is None or (tmp_path / template).read_bytes() == (EXAMPLES / template).read_bytes()
        assert loaded.run.trains_all
        assert len(loaded.run.weights) > 1


def test_an_example_that_is_not_there_and_a_key_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a clone of the repository"):
        changed_text(tmp_path / "none.toml", {})
    (tmp_path / "one.toml").write_text("[run]\ntarget = 'a'\n")
    with pytest.raises(ConfigError, match=r"'target' of 'run\.target\.b' is no table"):
        changed_text(tmp_path / "one.toml", {"run.target.b": 1})


def test_an_unknown_experiment_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["papers", "--out", str(tmp_path / "out"), "--only", "merge_to_mix_visoin"]) == 2
    said = capsys.readouterr().err
    assert "--only: no experiment 'merge_to_mix_visoin' (did you mean 'merge_to_mix_vision'?)" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
