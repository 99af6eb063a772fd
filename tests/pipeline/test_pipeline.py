"""The whole path on linear regression: what a folder holds, that it resumes, and what it refuses."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.killed import killed_every
from helpers.linear_setup import run_config

from m2m import pipeline
from m2m.checkpoint import Checkpoint
from m2m.errors import ConfigError, InputError, RunFolderError
from m2m.mixture import all_subsets
from m2m.pipeline import claiming, config, run_folder
from m2m.scoring import Means
from m2m.scoring.table import ScoreTable

CONFIG = run_config("validate = true\nseed = 3")

VOLATILE = {"seconds"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> config.RunConfig:
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text(CONFIG)
    return config.load(path)


@pytest.fixture(scope="module")
def finished(loaded: config.RunConfig, tmp_path_factory: pytest.TempPathFactory) -> run_folder.RunFolder:
    return pipeline.run(loaded, tmp_path_factory.mktemp("run") / "out", workers=2)


def _results(folder: run_folder.RunFolder) -> dict[str, object]:
    return {key: value for key, value in folder.read_results().items() if key not in VOLATILE}


def _scores(folder: run_folder.RunFolder) -> set[tuple[object, ...]]:
    with ScoreTable(folder.table) as table:
        return {(row.key, row.task, row.split, row.metric, row.value) for row in table.rows()}


def test_every_subset_is_merged_and_trained_twice(finished: run_folder.RunFolder) -> None:
    with ScoreTable(finished.table) as table:
        merged = [row.candidate for row in table.rows(origin="merged", split="validation")]
        trained = [(row.candidate, row.seed) for row in table.rows(origin="trained", split="validation")]
    labels = [mixture.label for mixture in all_subsets("abc")]
    assert sorted(merged) == sorted(labels)
    assert sorted(trained) == sorted(itertools.product(labels, (3, 4)))


def test_the_pick_is_the_best_merged_score_and_the_oracle_the_best_trained_one(
    finished: run_folder.RunFolder,
) -> None:
    results = finished.read_results()
    for name, origin, seed in (("picked", "merged", None), ("oracle", "trained", 3)):
        with ScoreTable(finished.table) as table:
            rows = table.rows(origin=origin, split="validation", seed=seed)
        assert results[name] == min(rows, key=lambda row: row.value).members
    assert results["ties"] == 0


def test_a_pick_among_equals_says_how_many(tmp_path: Path) -> None:
    """A target without inputs scores every model the same."""
    (tmp_path / "equal.py").write_text(
        "import torch\nfrom helpers.linear_setup import from_table as plain\n"
        "from m2m.setups.protocol import Examples, Target\n"
        "def make(spec):\n"
        "    setup = plain(spec)\n"
        "    empty = Examples((torch.zeros(3, 5, dtype=torch.float64), torch.ones(3, dtype=torch.float64)))\n"
        "    setup.targets = {'target': Target(empty, empty)}\n"
        "    return setup\n"
    )
    (tmp_path / "run.toml").write_text(CONFIG.rpartition("factory")[0] + 'factory = "equal.py:make"\n')
    results = pipeline.run(config.load(tmp_path / "run.toml"), tmp_path / "out", workers=1).read_results()
    assert (results["ties"], len(results["picked"])) == (6, 1)


def test_a_merged_singleton_scores_exactly_as_its_expert(finished: run_folder.RunFolder) -> None:
    with ScoreTable(finished.table) as table:
        for name in "abc":
            [merged] = table.rows(origin="merged", candidate=name)
            [trained] = table.rows(origin="trained", candidate=name, split="validation", seed=3)
            assert merged.examples.tolist() == trained.examples.tolist()


def test_the_test_split_is_scored_for_named_models_only(finished: run_folder.RunFolder) -> None:
    results = finished.read_results()
    names = ["base", "picked", "picked_after_trainings", "all", "similarity", "random", "oracle"]
    assert list(results["test"]) == names
    with ScoreTable(finished.table) as table:
        tested = {row.candidate for row in table.rows(split="test")}
    assert tested == {"base"} | {"+".join(results[name]) for name in names[1:]}


def test_another_run_gives_the_same_results(
    finished: run_folder.RunFolder, loaded: config.RunConfig, tmp_path: Path
) -> None:
    again = pipeline.run(loaded, tmp_path / "again", workers=1)
    assert _results(again) == _results(finished)
    assert _scores(again) == _scores(finished)


@pytest.mark.parametrize("mode", ["streamed", "auto"])
def test_a_run_scores_in_any_mode_and_keeps_to_its_memory(
    mode: str, finished: run_folder.RunFolder, loaded: config.RunConfig, tmp_path: Path
) -> None:
    copy = run_folder.RunFolder(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    copy.table.unlink()
    with pytest.raises(ConfigError, match="not enough memory for mode resident"):
        pipeline.run(loaded, copy.root, workers=1, means=Means("resident", memory=1))
    pipeline.run(loaded, copy.root, workers=1, means=Means(mode, memory=2**26))
    if mode == "streamed":
        assert _scores(copy) == _scores(finished)
    else:  # a stack of small models may sum in another order
        assert {row[:-1] for row in _scores(copy)} == {row[:-1] for row in _scores(finished)}


@pytest.mark.parametrize("lost", ["scores.sqlite", "experts/b", "mixtures/a+c/seed4", "base", "results.json"])
def test_a_run_goes_on_from_whatever_is_left(
    lost: str, finished: run_folder.RunFolder, loaded: config.RunConfig, tmp_path: Path
) -> None:
    copy = run_folder.RunFolder(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    place = copy.root / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    pipeline.run(loaded, copy.root, workers=1)
    assert _results(copy) == _results(finished)
    assert _scores(copy) == _scores(finished)


def test_a_run_killed_at_any_progress_ends_in_the_same_results(
    finished: run_folder.RunFolder, loaded: config.RunConfig, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    folder = killed_every(9, lambda interrupt: pipeline.run(loaded, out, workers=1, progress=interrupt))
    assert _results(folder) == _results(finished)
    assert _scores(folder) == _scores(finished)


def test_without_validate_only_experts_and_chosen_mixtures_are_trained(
    loaded: config.RunConfig, finished: run_folder.RunFolder, tmp_path: Path
) -> None:
    short = replace(loaded, run=replace(loaded.run, validate=False))
    folder = pipeline.run(short, tmp_path / "short", workers=1)
    results, full = folder.read_results(), finished.read_results()
    assert "oracle" not in results
    assert results["picked"] == full["picked"]
    assert results["test"] == {name: full["test"][name] for name in results["test"]}
    trained = {path.parent.name for path in folder.root.glob("*/*/seed*")}
    chosen = ("picked", "all", "similarity", "random")
    assert trained == set("abc") | {"+".join(results[name]) for name in chosen}
    longer = pipeline.run(loaded, folder.root, workers=1)  # validate adds to what is there
    assert _results(longer) == _results(finished)


def test_another_configuration_leaves_the_folder_alone(
    finished: run_folder.RunFolder, loaded: config.RunConfig
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.root.rglob("*")}
    other = replace(loaded, train=replace(loaded.train, steps=4))
    with pytest.raises(
        RunFolderError, match=r"another configuration \(train.steps is 4, was \d+; see .*config"
    ):
        pipeline.run(other, finished.root)
    assert {path: path.stat().st_mtime_ns for path in finished.root.rglob("*")} == before


def test_a_folder_in_use_is_refused(loaded: config.RunConfig, tmp_path: Path) -> None:
    with (
        claiming.claim(tmp_path / "out", loaded, {}),
        pytest.raises(RunFolderError, match="in use"),
        claiming.claim(tmp_path / "out", loaded, {}),
    ):
        pass


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path.mkdir(), (path / "thesis.tex").touch())])
def test_a_foreign_folder_is_refused(make: object, loaded: config.RunConfig, tmp_path: Path) -> None:
    make(tmp_path / "mine")  # type: ignore[operator]
    with pytest.raises(RunFolderError, match="mine"):
        pipeline.run(loaded, tmp_path / "mine")


def test_an_unknown_target_makes_no_folder(loaded: config.RunConfig, tmp_path: Path) -> None:
    wrong = replace(loaded, run=replace(loaded.run, target="tarot"))
    with pytest.raises(ConfigError, match="'tarot'"):
        pipeline.run(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_experts_are_ordinary_checkpoints(finished: run_folder.RunFolder) -> None:
    state = Checkpoint(finished.root / "experts" / "a" / "seed3").state()
    assert state["theta"].dtype == torch.float64
    assert json.loads((finished.root / "experts" / "a" / "seed3" / "manifest.json").read_text())["files"]


@pytest.mark.parametrize("damage", ["row", "pipe"])
def test_a_run_folder_that_was_changed_says_so(
    damage: str, finished: run_folder.RunFolder, loaded: config.RunConfig, tmp_path: Path
) -> None:
    folder = run_folder.RunFolder(tmp_path / "run")
    shutil.copytree(finished.root, folder.root)
    if damage == "row":
        connection = sqlite3.connect(folder.table)
        connection.execute("UPDATE scores SET candidate = 'x' WHERE candidate = 'a' AND origin = 'merged'")
        connection.commit()
        connection.close()
        said = "lost the score of 'a'"
    else:
        [weights] = folder.base.glob("*.safetensors")
        weights.unlink()
        os.mkfifo(weights)
        said = "is a pipe, wanted a file"
    with pytest.raises(InputError, match=said):
        pipeline.run(loaded, folder.root, workers=1)
