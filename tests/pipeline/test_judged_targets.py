"""Runs whose targets are judged by tasks: chosen, tested, resumed, mixed, searched and studied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.judged_runs import write_harness_task, write_judged_run
from helpers.tiny_models import write_llama

import m2m
from analysis.trained_run import open_run
from m2m import pipeline
from m2m.errors import ConfigError, InputError, RunFolderError
from m2m.pipeline import config
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable

QUIZ = """
[setup.targets.quiz]
task = "choice"
file = "quiz.jsonl"
metric = "loss"
"""
SPELL = """
[setup.targets.spell]
task = "exact_match"
file = "ask.jsonl"
max_new_tokens = 3
"""
LETTERS = """
[setup.targets.letters]
task = "generate"
file = "ask.jsonl"
judge = "judge.py:judge"
max_new_tokens = 4
validation = 3
"""
OWN = """
[setup.targets.own]
task = "own.py:score"
"""
HARNESS = """
[setup.targets.harness]
task = "lm_eval:tiny"
lm_eval_tasks = "tasks"
test = 5
"""


def results_of(folder: RunFolder) -> dict[str, object]:
    return {key: value for key, value in folder.read_results().items() if key != "seconds"}


def scores_of(folder: RunFolder) -> set[tuple[object, ...]]:
    with ScoreTable(folder.table) as table:
        return {
            (row.key, row.origin, row.task, row.split, row.version, row.metric, *row.examples)
            for row in table.rows()
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("judged")
    write_llama(place / "model")
    return place


@pytest.fixture(scope="module")
def path(place: Path) -> Path:
    """Of a run that is judged in every way that needs no harness."""
    return write_judged_run(place, "model", target='"quiz"', targets=QUIZ + SPELL + LETTERS + OWN)


@pytest.fixture(scope="module")
def finished(path: Path) -> RunFolder:
    return pipeline.run(config.load(path), path.parent / "out", workers=1)


def test_each_target_has_its_metric_and_direction(finished: RunFolder) -> None:
    results = finished.read_results()
    assert (results["target"], results["metric"], results["higher_is_better"]) == ("quiz", "loss", False)
    metrics = {name: tuple(found.values()) for name, found in results["metrics"].items()}
    assert metrics == {
        "quiz": ("loss", False), "prose": ("loss", False), "spell": ("exact_match", True),
        "letters": ("letters", True), "own": ("size", False),
    }  # fmt: skip
    with ScoreTable(finished.table) as table:
        rows = table.rows(candidate="a", origin="merged", split="validation")
        versions = {(row.task, row.version) for row in table.rows()}
    counts = {(row.task, row.metric): row.count for row in rows}
    assert counts["letters", "letters"] == 3
    assert counts["own", "size"] == 5
    assert counts["quiz", "accuracy"] == counts["quiz", "loss"]
    assert len(versions) == len({task for task, _ in versions}), "a target's splits have one version"


def test_the_pick_is_the_best_by_the_target_s_metric(finished: RunFolder) -> None:
    results = finished.read_results()
    with ScoreTable(finished.table) as table:
        rows = table.rows(origin="merged", task="quiz", metric="loss", split="validation")
        tested = table.rows(origin="trained", task="quiz", metric="loss", split="test", seed=0)
    assert results["picked"] == min(rows, key=lambda row: row.value).members
    assert results["test"]["picked"] == next(r.value for r in tested if r.members == results["picked"])
    # What a task judges cannot be embedded, so nothing is said of similarity.
    assert "similarity" not in results
    assert list(results["similarities"]) == ["prose"]


def test_validation_and_test_items_are_apart(finished: RunFolder) -> None:
    with ScoreTable(finished.table) as table:
        counts = {row.split: row.count for row in table.rows(origin="base", task="quiz", metric="loss")}
    assert sum(counts.values()) == 24
    assert min(counts.values()) > 0


@pytest.mark.parametrize("lost", ["scores.sqlite", "experts/b"])
def test_a_run_goes_on_from_whatever_is_left(
    lost: str, finished: RunFolder, path: Path, tmp_path: Path
) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(finished.root, copy.root)
    there = copy.root / lost
    shutil.rmtree(there) if there.is_dir() else there.unlink()
    pipeline.run(config.load(path), copy.root, workers=1)
    assert results_of(copy) == results_of(finished)
    assert scores_of(copy) == scores_of(finished)


def test_search_and_mix_take_each_target_s_own_metric(
    finished: RunFolder, path: Path, tmp_path: Path
) -> None:
    found = m2m.search(finished.root, weigh={"letters": 1.0, "quiz": 1.0}, budget=3)
    assert set(found.scores) == {"letters", "quiz"}
    text = (
        path.read_text()
        + "\n[mix]\nseeds = 6\nregressor = 'ridge'\nbootstrap = 0\ncapabilities = { letters = 1, quiz = 1 }\n"
    )
    path.with_name("mix.toml").write_text(text)
    mixed = m2m.mix(path.with_name("mix.toml"), tmp_path / "mix", workers=1)
    metrics = {fit.target.name: (fit.target.metric, fit.target.higher_is_better) for fit in mixed.fits}
    assert metrics == {"letters": ("letters", True), "quiz": ("loss", False)}


def test_a_changed_judge_or_item_is_another_run(path: Path, finished: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(path.parent, tmp_path / "all")
    moved, out = tmp_path / "all" / path.name, tmp_path / "all" / "out"
    (moved.parent / "judge.py").write_text((path.parent / "judge.py").read_text() + "\n# changed\n")
    with pytest.raises(RunFolderError, match="target 'letters' has changed since"):
        pipeline.run(config.load(moved), out)


def test_scores_of_given_experts_know_the_targets(finished: RunFolder, path: Path, tmp_path: Path) -> None:
    experts = {name: finished.root / "experts" / name / "seed0" for name in "ab"}
    m2m.score(
        finished.root / "base", experts, setup=path, targets=["quiz", "letters"], split="test",
        out=tmp_path / "s.csv",
    )  # fmt: skip
    with ScoreTable(tmp_path / "s.sqlite") as table, ScoreTable(finished.table) as ours:
        for task, metric in (("quiz", "accuracy"), ("letters", "letters")):
            [row] = table.rows(task=task, candidate="a", metric=metric)
            [same] = ours.rows(task=task, candidate="a", metric=metric, split="validation", origin="merged")
            assert (row.split, row.version) == ("test", same.version)


def test_a_dry_run_counts_what_tasks_ask(finished: RunFolder, path: Path, tmp_path: Path) -> None:
    found = m2m.dry_run(path, tmp_path / "out", workers=1)
    with ScoreTable(finished.table) as table:
        rows = table.rows(origin="base", split="validation")
        counts = {row.task: row.count for row in rows if row.task != "own"}
    assert found.workload.merged.examples == sum(counts.values())
    assert found.timing.example > 0
    assert m2m.dry_run(path, finished.root, workers=1).workload.merged.models == 0


def test_the_byte_gpt_is_judged_too(tmp_path: Path) -> None:
    path = write_judged_run(tmp_path, "byte-gpt", target='"spell"', targets=QUIZ + SPELL + LETTERS)
    results = pipeline.run(config.load(path), tmp_path / "out", workers=1).read_results()
    assert (results["metric"], results["higher_is_better"]) == ("exact_match", True)


def test_a_run_needs_no_target_with_data_of_its_own(tmp_path: Path) -> None:
    path = write_judged_run(tmp_path, "byte-gpt", target='"quiz"', targets="")
    path.write_text(path.read_text().partition("[setup.targets")[0] + QUIZ)
    assert pipeline.run(config.load(path), tmp_path / "out", workers=1).read_results()["similarities"] == {}


@pytest.mark.filterwarnings("ignore")  # the harness and what it imports warn about themselves
def test_the_harness_judges_a_target(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `lm-eval`")
    shutil.copytree(place / "model", tmp_path / "model")
    path = write_judged_run(tmp_path, "model", target='"harness"', targets=HARNESS)
    write_harness_task(tmp_path, tmp_path / "quiz.jsonl")
    out = tmp_path / "out"
    first = pipeline.run(config.load(path), out, workers=1)
    kept = (results_of(first), scores_of(first))
    first.table.unlink()
    again = pipeline.run(config.load(path), out, workers=1)
    assert (results_of(again), scores_of(again)) == kept
    with ScoreTable(first.table) as table:
        counts = {row.split: row.count for row in table.rows(origin="base", task="harness")}
    assert counts["test"] == 5
    assert 0 < counts["validation"] < 24


def test_what_has_no_loss_is_not_differentiated(finished: RunFolder) -> None:
    with pytest.raises(InputError, match="'quiz' is judged by a task"):
        open_run(finished.root).target_named(None)
    assert open_run(finished.root).target_named("prose")[0] == "prose"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('task = "choise"\nfile = "quiz.jsonl"', "`task` must be one of .*did you mean 'choice'"),
        ('task = "choice"', "wanted `file`, whose items"),
        ('task = "choice"\nfile = "quiz.jsonl"\ntest_file = "quiz.jsonl"', "wanted `file`, whose items"),
        ('task = "choice"\nfile = "quiz.jsonl"\nfil = 1', "fil"),
        (
            'task = "choice"\nfile = "quiz.jsonl"\njudge = "judge.py:judge"',
            "`judge` is read by the tasks generate",
        ),
        ('task = "choice"\nfile = "none.jsonl"', "cannot read the task's file .*none.jsonl"),
        ('task = "choice"\nfile = "quiz.jsonl"\ntest = 20', "test of 24 items, .*wanted 20"),
        ('task = "choice"\nfile = "quiz.jsonl"\nmetric = "acc"', "no metric 'acc'.*it has"),
        ('task = "choice:quiz.jsonl"', "goes into `file`"),
        ('task = "generate"\nfile = "ask.jsonl"', "`judge` is missing"),
        ('task = "generate"\nfile = "ask.jsonl"\njudge = "judge.py:jugde"', "no function 'jugde'"),
        ('task = "exact_match"\nfile = "quiz.jsonl"', "`answer` must be a text"),
        ('task = "exact_match"\nfile = "ask.jsonl"\nmax_new_tokens = 64', "64 tokens may be written"),
        ('task = "exact_match"\nfile = "ask.jsonl"\nstop = [""]', "an empty text"),
        ('task = "own.py:score"\nvalidation = 3', "a function scores the items that it has"),
        ('task = "lm_eval:"', "names no task"),
        ("task = 7", "`task` must be text"),
    ],
)
def test_what_is_no_target_is_one_line(table: str, message: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(place / "model")
    path = write_judged_run(tmp_path, "model", target='"t"', targets=f"[setup.targets.t]\n{table}\n")
    with pytest.raises(InputError, match=message) as caught:
        pipeline.run(config.load(path), tmp_path / "out")
    assert "[setup.targets.t]" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_target_s_name_is_given_once(place: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(place / "model")
    path = write_judged_run(tmp_path, "model", target='"t"', targets=QUIZ.replace("quiz]", '"a+b"]'))
    with pytest.raises(ConfigError, match=r"a\+b"):
        pipeline.run(config.load(path), tmp_path / "out")
