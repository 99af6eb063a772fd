"""Scores for `m2m search` of merged models that are made as they are asked for, each kept in a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.scoring import Means, ScoreSource, open_models
from m2m.scoring.bench import task_bench
from m2m.scoring.live.device import open_device
from m2m.scoring.prepare import is_scored, keep
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks.scorer import BatchedScorer, SomeExamples
from m2m.support.arguments import argument
from m2m.support.arrays import Floats
from m2m.support.content_keys import content_key
from m2m.support.units import parse_bytes
from m2m.verbs.score import bench_of
from m2m.verbs.search.source import Asked, Source


@contextmanager
def live_source(asked: Asked) -> Iterator[Source]:
    """Open experts and tasks; each mixture is scored once, ever, as scores are kept beside `--out`."""
    assert asked.base is not None
    assert asked.experts is not None
    assert asked.out is not None
    device = open_device(asked.device)
    with open_models(asked.base, asked.experts) as models:
        of_setup = bench_of(
            asked.tasks, asked.setup, asked.targets, asked.split, asked.model, asked.options, asked.progress
        )
        bench = (
            task_bench(
                asked.base, asked.tasks, model=asked.model, context=asked.context, options=asked.options
            )
            if of_setup is None
            else of_setup()
        )
        metrics = {scorer.task: _metric(asked, scorer.task, scorer.metrics) for scorer in bench.scorers}
        means = Means(
            asked.mode,
            None if asked.memory is None else parse_bytes(asked.memory),
            device,
            asked.threads,
            spill=asked.out.parent,
        )
        with ScoreSource(models, bench, means) as source:
            live = _LiveScores(source, metrics, asked.out.with_suffix(".sqlite"))
            yield Source(
                datasets=list(models.experts),
                higher_is_better={
                    task: live.scorers[task].metrics[metric] for task, metric in metrics.items()
                },
                metrics=metrics,
                scores=live.scores,
                examples=live.examples,
                counts={task: s.count for task, s in live.scorers.items() if isinstance(s, BatchedScorer)},
                prepare=live.prepare,
            )


class _LiveScores:
    """Scores from a table, or from merged models where it has none."""

    def __init__(self, source: ScoreSource, metrics: Mapping[str, str], table: Path) -> None:
        self._source, self._metrics, self._table = source, metrics, table
        self._content = source.models.content(source.bench, source.means.device.type)
        self.scorers = {scorer.task: scorer for scorer in source.bench.scorers}

    def prepare(self, mixtures: Sequence[Mixture]) -> None:
        """Score the mixtures that are not scored yet, in one pass over the experts."""
        keys = {mixture.key: content_key(*self._content, mixture.weights) for mixture in mixtures}
        with ScoreTable(self._table) as table:
            wanted = defaultdict[tuple[str, ...], list[Mixture]](list)
            for mixture in {mixture.key: mixture for mixture in mixtures}.values():
                missing = [
                    s.task for s in self.scorers.values() if not is_scored(table, keys[mixture.key], s)
                ]
                if missing:
                    wanted[tuple(missing)].append(mixture)
            for tasks, group in wanted.items():
                scorers = [self.scorers[task] for task in tasks]
                for mixture, scores in self._source.scores(group, scorers):
                    keep(table, keys[mixture.key], mixture, scorers, scores)

    def scores(self, mixture: Mixture) -> Mapping[str, float]:
        """Return a mixture's score by task, from the table or measured now."""
        self.prepare([mixture])
        key = content_key(*self._content, mixture.weights)
        with ScoreTable(self._table) as table:
            rows = {
                task: table.rows(key=key, task=task, version=scorer.version, metric=self._metrics[task])
                for task, scorer in self.scorers.items()
            }
        return {task: found[0].value for task, found in rows.items()}

    def examples(self, task: str, mixture: Mixture, numbers: Sequence[int]) -> Floats:
        """Return a mixture's scores on some examples of a task: [e]."""
        scorer = self.scorers[task]
        assert isinstance(scorer, BatchedScorer)
        [(_, [scores])] = self._source.scores([mixture], [SomeExamples(scorer, numbers)])
        return scores.values[self._metrics[task]]


def _metric(asked: Asked, task: str, metrics: Mapping[str, bool]) -> str:
    if asked.metric is None and len(metrics) > 1:
        raise ConfigError(
            f"task {task} has several metrics, say {argument('metric')} with one of {list(metrics)}"
        )
    if asked.metric is not None and asked.metric not in metrics:
        raise ConfigError(f"task {task} has no metric {asked.metric!r}; it has {list(metrics)}")
    return asked.metric or next(iter(metrics))
