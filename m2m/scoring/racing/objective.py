"""Races inside searches: an objective that scores a mixture only as far as it can still be the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.scoring.racing.rules import spread_order, standing
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Estimate:
    """What is known of a mixture's score over all E examples.

    Attributes:
        value: Estimated mean over all E examples, in the metric's unit.
        standard_error: Of that value; 0 where all examples were scored.
        examples: Number of examples that were scored.
    """

    value: float
    standard_error: float
    examples: int


class RacedObjective:
    """A search's objective where every mixture runs against the best one so far.

    The first mixture is scored on all E examples. Each later one on √E of them, then on twice as many, and
    so on, until its chance to be as good as the best one is at most 1 − confidence, or it has all E and is
    the best one from then on, if it is better. A mixture that was given up is estimated by the best one's
    full score and the mean paired difference to it, so it never comes out ahead.

    Use it as `m2m.searching.Objective(raced, higher_is_better)`.

    Args:
        values: MergingWeights and example numbers to the mixture's scores on those examples, [e].
        examples: Number of examples E.
        higher_is_better: The score's direction.
        confidence: In (0, 1); how sure it has to be, at each look, that a mixture is not the best.
        seed: Decides the order of the examples.

    Attributes:
        estimates: What is known, by the mixture's key.
        evaluations: Example evaluations paid for.

    Raises:
        InputError: If there are no examples, or the confidence makes no sense.
    """

    def __init__(
        self,
        values: Callable[[MergingWeights, Sequence[int]], ArrayLike],
        examples: int,
        *,
        higher_is_better: bool,
        confidence: float = 0.99,
        seed: int = 0,
    ) -> None:
        if examples < 1 or not 0 < confidence < 1:
            raise InputError(
                "a raced objective needs examples and a confidence between 0 and 1, "
                f"got {examples} and {confidence}"
            )
        self._values, self._confidence = values, confidence
        self._sign = 1.0 if higher_is_better else -1.0
        self._order = spread_order(examples, seed)
        self._best: Floats | None = None
        self.estimates: dict[str, Estimate] = {}
        self.evaluations = 0

    def __call__(self, mixture: MergingWeights) -> float:
        """Estimate a mixture's score; what is known already costs nothing.

        Args:
            mixture: The mixture.

        Returns:
            Its estimated mean over all examples, in the metric's unit.
        """
        return self.estimate(mixture).value

    def estimate(self, mixture: MergingWeights) -> Estimate:
        """Estimate a mixture's score, and say how well it is known.

        Args:
            mixture: The mixture.

        Returns:
            Its estimate.
        """
        if mixture.key not in self.estimates:
            self.estimates[mixture.key] = self._run(mixture)
        return self.estimates[mixture.key]

    def _run(self, mixture: MergingWeights) -> Estimate:
        count = len(self._order)
        scores = np.empty(0)
        while len(scores) < count:
            reached = count if self._best is None else max(2 * len(scores), 2, math.isqrt(count - 1) + 1)
            scores = np.concatenate([scores, self._score(mixture, self._order[len(scores) : reached])])
            if self._best is not None and len(scores) < count and self._hopeless(scores, self._best):
                return self._given_up(scores, self._best)
        if self._best is None or self._mean(scores) > self._mean(self._best):
            self._best = scores
        return Estimate(self._sign * self._mean(scores), 0.0, count)

    def _mean(self, scores: Floats) -> float:
        # in the examples' own order: to the bit what scoring them all gives
        return float(scores[np.argsort(self._order)].mean())

    def _score(self, mixture: MergingWeights, examples: Sequence[int]) -> Floats:
        scores = np.asarray(self._values(mixture, examples), dtype=np.float64)
        if scores.shape != (len(examples),) or not np.isfinite(scores).all():
            raise InputError(
                f"scores of {mixture.label} must be {len(examples)} finite numbers, one an example; "
                f"got shape {list(scores.shape)}, {int((~np.isfinite(scores)).sum())} of them not finite"
            )
        self.evaluations += scores.size
        return self._sign * scores

    def _hopeless(self, scores: Floats, best: Floats) -> bool:
        pair = standing(np.stack([best[: len(scores)], scores]), len(best))
        return pair.leader == 0 and pair.chance[1] <= 1 - self._confidence

    def _given_up(self, scores: Floats, best: Floats) -> Estimate:
        gaps = best[: len(scores)] - scores
        error = float(gaps.std(ddof=1)) * math.sqrt(1 / len(gaps) - 1 / len(best))
        return Estimate(self._sign * (self._mean(best) - float(gaps.mean())), error, len(gaps))
