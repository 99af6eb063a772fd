"""Scores for `m2m search` of merged models that are made as they are asked for, each kept in a table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from m2m.checkpoint import Checkpoint
from m2m.cli.experts import named_paths
from m2m.cli.score import bench_of_setup, options_of_tasks
from m2m.cli.search_source import Source
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.scoring import LiveModel, merged_content, score_model
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks.batched_scorer import BatchedScorer
from m2m.scoring.tasks.bench import Bench, task_bench
from m2m.support.arrays import Floats
from m2m.support.content_keys import content_key


def open_live(args: argparse.Namespace) -> Source:
    """Load experts and tasks.

    Args:
        args: The parsed options of `m2m search`.

    Returns:
        A source that merges and scores each mixture once, ever: scores are kept beside `--out`.
    """
    of_setup = bench_of_setup(args)
    if of_setup is not None:
        bench = of_setup()
    else:
        bench = task_bench(
            args.base, args.task, model=args.model, context=args.context, options=options_of_tasks(args)
        )
    experts = {name: Checkpoint(path) for name, path in named_paths(args.experts).items()}
    metrics = {scorer.task: _metric(args, scorer.task, scorer.metrics) for scorer in bench.scorers}
    live = _LiveScores(
        bench, Checkpoint(args.base), experts, metrics, args.out.with_suffix(".sqlite"), args.threads
    )
    return Source(
        datasets=list(experts),
        higher_is_better={scorer.task: scorer.metrics[metrics[scorer.task]] for scorer in bench.scorers},
        metrics=metrics,
        scores=live.scores,
        examples=live.examples,
        counts={scorer.task: scorer.count for scorer in bench.scorers if isinstance(scorer, BatchedScorer)},
    )


class _LiveScores:
    """One module in memory, merged anew for every mixture."""

    def __init__(
        self,
        bench: Bench,
        base: Checkpoint,
        experts: Mapping[str, Checkpoint],
        metrics: Mapping[str, str],
        table: Path,
        threads: int | None,
    ) -> None:
        states = [expert.state() for expert in experts.values()]
        self._live = LiveModel(bench.build(), base.state(), states, list(experts))
        self._content = merged_content(bench, base, experts)
        self._bench, self._metrics, self._table, self._threads = bench, metrics, table, threads
        self._merged = ""

    def scores(self, mixture: Mixture) -> Mapping[str, float]:
        """Return a mixture's score by task, from the table or measured now."""
        key = content_key(*self._content, mixture.weights)
        with ScoreTable(self._table) as table:
            missing = [s for s in self._bench.scorers if not table.has(key, s.task, s.split, s.version)]
            if missing:
                self._merge(mixture)
                for s, found in zip(missing, score_model(self._live.model, missing), strict=True):
                    table.add(key, mixture, "merged", None, s.task, s.split, s.version, found, s.metrics)
            rows = {
                s.task: table.rows(key=key, task=s.task, version=s.version, metric=self._metrics[s.task])
                for s in self._bench.scorers
            }
        return {task: found[0].value for task, found in rows.items()}

    def examples(self, task: str, mixture: Mixture, numbers: Sequence[int]) -> Floats:
        """Return a mixture's scores on some examples of a task: [e]."""
        [scorer] = [scorer for scorer in self._bench.scorers if scorer.task == task]
        assert isinstance(scorer, BatchedScorer)
        self._merge(mixture)
        return scorer.score(self._live.model, numbers).values[self._metrics[task]]

    def _merge(self, mixture: Mixture) -> None:
        if mixture.key != self._merged:  # a race comes back to the same mixture for more examples
            self._live.merge([mixture.weights], self._threads)
            self._merged = mixture.key


def _metric(args: argparse.Namespace, task: str, metrics: Mapping[str, bool]) -> str:
    if args.metric is None and len(metrics) > 1:
        raise ConfigError(f"task {task} has several metrics, say --metric with one of {list(metrics)}")
    if args.metric is not None and args.metric not in metrics:
        raise ConfigError(f"task {task} has no metric {args.metric!r}; it has {list(metrics)}")
    return args.metric or next(iter(metrics))
