"""What races: candidates whose scores can be had for any examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from m2m.errors import ConfigError, InputError
from m2m.scoring.live.live_model import LiveModel, checked_weights
from m2m.scoring.tasks.batched_scorer import BatchedScorer
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
        """Look scores up.

        Args:
            candidates: Candidate numbers. [m]
            examples: Example numbers. [e]

        Returns:
            Their scores. [m, e]
        """
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
        """Merge and score; afterwards the module has the base weights again.

        Args:
            candidates: Candidate numbers. [m]
            examples: Example numbers. [e]

        Returns:
            Their scores. [m, e]
        """
        rows = []
        try:
            for m in candidates:
                self._live.merge(self._weights[m][None], self._threads)
                self.merges += 1
                rows.append(self._scorer.score(self._live.model, examples).values[self.metric])
        finally:
            self._live.restore()
        return np.stack(rows)
