"""What races: recorded scores, merged models in memory, or merged models of experts on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m2m.errors import ConfigError, InputError
from m2m.mixture import MergingWeights
from m2m.scoring.live.live_model import LiveModel, checked_weights
from m2m.scoring.prepare import keep
from m2m.scoring.source import ScoreSource
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks.scorer import BatchedScorer, Scorer, Scores, SomeExamples
from m2m.support.arrays import Floats


class Candidates(Protocol):
    """M candidates that can be scored on any of E examples.

    Attributes:
        count: M.
        examples: E.
        higher_is_better: The score's direction.
    """

    count: int
    examples: int
    higher_is_better: bool

    def values(self, candidates: Sequence[int], examples: Sequence[int]) -> Floats:
        """Return the scores of m candidates on e examples: [m, e]."""


class RecordedCandidates:
    """Candidates that were scored before: to race on a table, and to simulate races.

    Args:
        scores: A row a candidate, a column an example. [M, E]
        higher_is_better: The score's direction.

    Attributes:
        count: M.
        examples: E.
        higher_is_better: The score's direction.

    Raises:
        InputError: If there are not at least one candidate and one example.
    """

    def __init__(self, scores: ArrayLike, *, higher_is_better: bool) -> None:
        self._scores = np.asarray(scores, dtype=np.float64)
        if self._scores.ndim != 2 or not self._scores.size:
            raise InputError(
                f"recorded scores must be [M, E], a row a candidate; got shape {list(self._scores.shape)}"
            )
        self.count, self.examples = self._scores.shape
        self.higher_is_better = higher_is_better

    def values(self, candidates: Sequence[int], examples: Sequence[int]) -> Floats:
        """Look scores up. [m, e]."""
        return self._scores[np.ix_(candidates, examples)]


class MergedCandidates:
    """Merged models that are scored when asked, one after the other in one live module.

    Args:
        live: The module, its base weights and experts.
        weights: Merging weights, a row a candidate. [M, N]
        scorer: The task.
        metric: The metric that decides; the task's headline metric if not given.
        threads: CPU threads of the merge; None for the kernel's own choice.

    Attributes:
        count: M.
        examples: E.
        higher_is_better: The metric's direction.
        merges: Models merged so far.

    Raises:
        ConfigError: If the task has no such metric.
        InputError: If there are no candidates, or the task has no examples.
    """

    def __init__(
        self,
        live: LiveModel,
        weights: ArrayLike,
        scorer: BatchedScorer,
        metric: str | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self.metric = next(iter(scorer.metrics)) if metric is None else metric
        if self.metric not in scorer.metrics:
            raise ConfigError(f"task {scorer.task} has no metric {metric!r}; it has {list(scorer.metrics)}")
        self._live, self._scorer, self._threads = live, scorer, threads
        self._weights = checked_weights(weights, live.experts)
        self.count, self.examples = len(self._weights), scorer.count
        if not self.count or not self.examples:
            raise InputError(
                f"task {scorer.task}: a race needs candidates and examples, "
                f"got {self.count} and {self.examples}"
            )
        self.higher_is_better = scorer.metrics[self.metric]
        self.merges = 0

    def values(self, candidates: Sequence[int], examples: Sequence[int]) -> Floats:
        """Merge and score; afterwards the module has the base weights again. [m, e]."""
        rows = []
        try:
            for m in candidates:
                self._live.merge(self._weights[m][None], self._threads)
                self.merges += 1
                rows.append(self._scorer.score(self._live.model, examples).values[self.metric])
        finally:
            self._live.restore()
        return np.stack(rows)


def raced_task(scorers: Sequence[Scorer], metric: str | None) -> tuple[BatchedScorer, str]:
    """Find the one task of a race, which comes in batches, and the metric that decides; None: its first."""
    if len(scorers) != 1:
        raise ConfigError(f"a race is run on one task, got {[scorer.task for scorer in scorers]}")
    [scorer] = scorers
    if not isinstance(scorer, BatchedScorer):
        raise ConfigError(
            f"the task {scorer.task} is scored as a whole, but a race scores a few of its examples at a time"
        )
    decisive = next(iter(scorer.metrics)) if metric is None else metric
    if decisive not in scorer.metrics:
        raise ConfigError(f"the task {scorer.task} has no metric {metric!r}; it has {list(scorer.metrics)}")
    return scorer, decisive


class Runners:
    """Candidates [M] by content key, merged and scored by a source.

    What the score table's file has costs nothing; candidates that finish are added to it. `scored` is called
    after each candidate with the example evaluations that it took.
    """

    def __init__(
        self,
        mixtures: dict[str, MergingWeights],
        scorer: BatchedScorer,
        metric: str,
        table: Path,
        source: ScoreSource,
        scored: Callable[[int], None],
    ) -> None:
        self._keys, self.mixtures = list(mixtures), list(mixtures.values())
        self._numbers = {mixture.key: m for m, mixture in enumerate(self.mixtures)}
        self._scorer, self._metric, self._table = scorer, metric, table
        self._source, self._scored = source, scored
        self.count, self.examples = len(mixtures), scorer.count
        self.higher_is_better = scorer.metrics[metric]
        self._values = {name: np.full((self.count, self.examples), np.nan) for name in scorer.metrics}
        #: Example evaluations and merged models made, without what the table had.
        self.evaluated = self.merges = 0
        if table.exists():
            self._recall()

    @property
    def seen(self) -> NDArray[np.int64]:
        """On how many examples each candidate has been scored. [M]."""
        count: NDArray[np.int64] = np.count_nonzero(~np.isnan(self._values[self._metric]), axis=1)
        return count

    def mean(self, candidate: int) -> float:
        """Average the decisive metric over what a candidate has been scored on."""
        return float(np.nanmean(self._values[self._metric][candidate]))

    def values(self, candidates: Sequence[int], examples: Sequence[int]) -> Floats:
        """Merge and score what is not known yet. [m, e]."""
        wanted = self._values[self._metric][np.ix_(candidates, examples)]
        missing = [m for m, row in zip(candidates, wanted, strict=True) if np.isnan(row).any()]
        mixtures = [self.mixtures[m] for m in missing]
        for mixture, [scores] in self._source.scores(mixtures, [SomeExamples(self._scorer, examples)]):
            self.merges += 1
            self._note(self._numbers[mixture.key], examples, scores)
        return self._values[self._metric][np.ix_(candidates, examples)]

    def _note(self, m: int, examples: Sequence[int], scores: Scores) -> None:
        for name, found in scores.values.items():
            self._values[name][m, examples] = found
        self.evaluated += len(examples)
        self._scored(len(examples))
        if self.seen[m] == self.examples:
            self._keep(m)

    def _keep(self, m: int) -> None:
        whole = Scores({name: rows[m] for name, rows in self._values.items()})
        with ScoreTable(self._table) as table:
            keep(table, self._keys[m], self.mixtures[m], [self._scorer], [whole])

    def _recall(self) -> None:
        where = {"task": self._scorer.task, "split": self._scorer.split, "version": self._scorer.version}
        with ScoreTable(self._table) as table:
            rows = table.rows(**where)
        number = {key: m for m, key in enumerate(self._keys)}
        for row in rows:
            if row.key not in number:
                continue
            if row.metric not in self._values or row.count != self.examples:
                raise InputError(
                    f"{self._table}: {row.candidate} has {row.count} examples of {row.metric} on {row.task}, "
                    f"the task has {self.examples} of {list(self._values)}"
                )
            self._values[row.metric][number[row.key]] = row.examples
