"""Scores for `m2m search` of merged models that are made as they are asked for, each kept in a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from m2m.errors import ConfigError
from m2m.mixture import MergingWeights
from m2m.scoring import Means, open_models
from m2m.scoring.kept_scores import KeptScores
from m2m.scoring.live.device import open_device
from m2m.scoring.spread import Crowd
from m2m.scoring.tasks.scorer import BatchedScorer, SomeExamples
from m2m.support.arrays import Floats
from m2m.support.progress import nobody
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
    with open_models(asked.base, asked.experts, strict=asked.strict) as models:
        make = bench_of(
            asked.base, asked.tasks, asked.setup, asked.targets, asked.split, asked.model, asked.context,
            asked.options, asked.progress,
        )  # fmt: skip
        bench = make()
        metrics = {scorer.task: _metric(asked, scorer.task, scorer.metrics) for scorer in bench.scorers}
        means = Means(
            asked.mode,
            None if asked.memory is None else parse_bytes(asked.memory),
            device,
            asked.threads,
            spill=asked.out.parent,
        )
        crowd = Crowd(asked.executor, asked.workers, asked.base, asked.experts, make)
        with crowd.source(models, bench, means, nobody) as source:
            kept = KeptScores(source, asked.out.with_suffix(".sqlite"))

            def scores(mixture: MergingWeights) -> dict[str, float]:
                return {task: kept.row(mixture, task, metric).value for task, metric in metrics.items()}

            def examples(task: str, mixture: MergingWeights, numbers: Sequence[int]) -> Floats:
                scorer = kept.scorers[task]
                assert isinstance(scorer, BatchedScorer)
                [(_, [some])] = source.scores([mixture], [SomeExamples(scorer, numbers)])
                return some.values[metrics[task]]

            yield Source(
                datasets=list(models.experts),
                higher_is_better={
                    task: kept.scorers[task].metrics[metric] for task, metric in metrics.items()
                },
                metrics=metrics,
                scores=scores,
                examples=examples,
                counts={task: s.count for task, s in kept.scorers.items() if isinstance(s, BatchedScorer)},
                prepare=kept.prepare,
            )


def _metric(asked: Asked, task: str, metrics: Mapping[str, bool]) -> str:
    if asked.metric is not None and asked.metric not in metrics:
        raise ConfigError(f"task {task} has no metric {asked.metric!r}; it has {list(metrics)}")
    return asked.metric or next(iter(metrics))
