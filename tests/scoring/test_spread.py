"""Candidates scored by several processes have the scores of one, and are scored once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_models import write_llama
from hypothesis import given
from hypothesis import strategies as st

import m2m
from m2m.errors import CheckpointError, ConfigError
from m2m.mixture import Mixture, all_subsets
from m2m.scoring import spread
from m2m.scoring.bench import task_bench
from m2m.scoring.means import Means
from m2m.scoring.spread import ROUND, Opening, in_rounds
from m2m.scoring.table import ScoreTable
from m2m.support.devices import one_thread

NAMES = ("a", "b", "c")


@given(
    many=st.integers(0, 100),
    places=st.integers(1, 9),
    mode=st.sampled_from(["resident", "streamed", "auto"]),
)
def test_rounds_have_every_candidate_once_and_about_as_many_each(many: int, places: int, mode: str) -> None:
    mixtures = [Mixture(("a", "b"), (1 - n / 100, n / 100)) for n in range(many)]
    rounds = in_rounds(mixtures, places, mode)
    assert sorted(m.weights for part in rounds for m in part) == sorted(m.weights for m in mixtures)
    lengths = [len(part) for part in rounds]
    assert max(lengths, default=0) - min(lengths, default=0) <= 1
    assert len(rounds) >= min(places, many)
    if places > 1 and mode == "resident":
        assert max(lengths, default=0) <= ROUND
    else:
        assert len(rounds) <= places


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="needs the extra `huggingface`")
    root = tmp_path_factory.mktemp("models")
    write_llama(root / "base")
    for seed, name in enumerate(NAMES, start=1):
        write_llama(root / name, seed=seed, noise=0.05)
    (root / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")
    return root


def score(models: Path, out: Path, **more: Any) -> m2m.scoring.ScoreReport:
    named = {name: models / name for name in NAMES}
    options = {"tasks": [f"lm:{models / 'text.txt'}"], "context": 16, "mode": "resident"} | more
    return m2m.score(models / "base", named, out=out / "scores.csv", **options)


def examples(out: Path) -> dict[str, list[float]]:
    with ScoreTable(out / "scores.sqlite") as table:
        return {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}


def test_two_processes_find_the_scores_of_one(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with one_thread():
        score(models, tmp_path / "one")
    monkeypatch.chdir(models)  # relative paths are those of this folder in workers too
    told: list[tuple[int, int, str]] = []
    report = score(
        Path(), tmp_path / "two", workers=2, progress=lambda *news: told.append(news), tasks=["lm:text.txt"]
    )
    assert (report.mode, report.candidates, report.scored_now) == ("resident", 7, 7)
    assert report.why.endswith("; by 2 workers")
    assert told[-1] == (7, 7, "candidates")
    assert examples(tmp_path / "two") == examples(tmp_path / "one")
    assert score(models, tmp_path / "two", workers=2).scored_now == 0


@pytest.mark.slow
def test_a_search_by_two_processes_tries_what_one_tries(models: Path, tmp_path: Path) -> None:
    named = {name: models / name for name in NAMES}
    found = [
        m2m.search(
            base=models / "base", experts=named, tasks=[f"lm:{models / 'text.txt'}"], context=16,
            strategy="greedy", out=tmp_path / f"{workers}.csv", workers=workers,
        )
        for workers in (1, 2)
    ]  # fmt: skip
    assert found[0].result == found[1].result


def test_models_that_are_others_where_a_worker_is_are_refused(models: Path) -> None:
    def make() -> Any:
        return task_bench(models / "base", [f"lm:{models / 'text.txt'}"], context=16)

    named: dict[str, str | Path] = {name: models / name for name in NAMES}
    opening = Opening(models / "base", named, make, Means("resident"), 1, content="of others")
    try:
        with pytest.raises(CheckpointError, match=r"not on .* what they are where the work is given out"):
            spread.open_worker(opening)
    finally:
        spread._kept.close()
        logging.getLogger("m2m").setLevel(logging.NOTSET)


def test_a_bench_of_one_s_own_and_a_race_stay_in_this_process(models: Path, tmp_path: Path) -> None:
    bench = task_bench(models / "base", [f"lm:{models / 'text.txt'}"], context=16)
    with pytest.raises(ConfigError, match="a bench stays in its process"):
        score(models, tmp_path, workers=2, tasks=(), bench=bench)
    with pytest.raises(ConfigError, match="race goes without executor and workers"):
        m2m.search(
            base=models / "base", experts={"a": models / "a"}, tasks=["lm:text"], out=tmp_path / "s.csv",
            race=True, workers=2,
        )  # fmt: skip


def test_subsets_are_what_is_spread_by_default() -> None:
    assert [len(part) for part in in_rounds(all_subsets(NAMES), 3, "auto")] == [3, 2, 2]
