"""Scores for `m2m search` of a finished run's merged models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreRow, ScoreTable
from m2m.searching import MixtureList
from m2m.support.arguments import argument
from m2m.support.doors import read_toml
from m2m.support.schema import did_you_mean
from m2m.verbs.search.source import Asked, Source


def open_recorded(asked: Asked) -> Source:
    """Read the scores of a run's merged models."""
    assert asked.run is not None
    folder = RunFolder(asked.run)
    if not folder.table.exists():
        raise InputError(f"{asked.run} is no run folder: it has no {folder.table.name}")
    with ScoreTable(folder.table, read_only=True) as table:
        merged = {"origin": "merged", "split": asked.split}
        metrics = list(map(str, table.distinct("metric", **merged)))
        if not metrics:
            raise InputError(f"{asked.run} has no scores of merged models on the {asked.split} split")
        tasks, wanted = list(map(str, table.distinct("task", **merged))), _tasks(asked, folder)
        if missing := [task for task in wanted if task not in tasks]:
            raise ConfigError(
                f"{asked.run} has no target {missing[0]!r}{did_you_mean(missing[0], tasks)}; it has {tasks}"
            )
        asked_for = _the_metric(asked, metrics)
        decides = {task: asked_for or table.headline(task=task, **merged) for task in wanted}
        rows = [row for task in wanted for row in table.rows(task=task, metric=decides[task], **merged)]
    known: dict[str, dict[str, ScoreRow]] = {}
    mixtures: dict[str, Mixture] = {}
    for row in rows:
        mixture = Mixture(tuple(row.weights), tuple(row.weights.values()))
        if known.setdefault(mixture.key, {}).setdefault(row.task, row) is not row:
            raise InputError(
                f"{folder.table} has more than one score of {row.candidate!r} on {row.task!r}: its experts "
                "or data were not the same; run it again with `m2m run`"
            )
        mixtures[mixture.key] = mixture
    _check_versions(asked.run, rows)
    scored = [mixture for key, mixture in mixtures.items() if len(known[key]) == len(wanted)]
    pool = MixtureList(scored)
    every_subset = len(scored) == 2 ** len(pool.datasets) - 1 and all(m.is_subset for m in scored)
    return Source(
        datasets=pool.datasets,
        higher_is_better={row.task: row.higher_is_better for row in rows},
        metrics={row.task: row.metric for row in rows},
        scores=lambda mixture: {task: row.value for task, row in known[mixture.key].items()},
        examples=lambda task, mixture, numbers: known[mixture.key][task].examples[list(numbers)],
        counts={row.task: row.count for row in rows},
        pool=None if every_subset else pool,
    )


def _check_versions(run: Path, rows: Sequence[ScoreRow]) -> None:
    versions = {row.task: row.version for row in rows}
    for row in rows:
        if row.version != versions[row.task]:
            raise InputError(
                f"{run} has scores of different versions of {row.task}, which cannot be compared"
            )


def _tasks(asked: Asked, folder: RunFolder) -> list[str]:
    # The targets that are named anywhere, or the run's own.
    named = [*asked.targets, *asked.weigh, *(limit.task for limit in asked.keep)]
    if named:
        return list(dict.fromkeys(named))
    configured = read_toml(folder.config, "a run's configuration", shape={"run": {"target": (str, dict)}})
    target = configured["run"]["target"]
    if not isinstance(target, str):
        raise ConfigError(
            f"{folder.root} chose for several targets at once, {', '.join(target)}: say {argument('target')} "
            f"with one of them, or {argument('weigh', 'TASK=WEIGHT')} for each, in the units of their scores"
        )
    return [target]


def _the_metric(asked: Asked, there: Sequence[str]) -> str | None:
    if asked.metric is not None and asked.metric not in there:
        raise ConfigError(f"no metric {asked.metric!r}{did_you_mean(asked.metric, there)}; there are {there}")
    return asked.metric
