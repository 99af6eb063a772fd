"""Several tasks as one objective: a weighted utility, limits that must hold, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.searching.objective import Evaluation, Objective

#: What a unit beyond a limit costs, as a multiple of the largest weight: it draws the search back inside.
PRICE = 3.0


@dataclass(frozen=True)
class Limit:
    """A score that must not get worse than a bound.

    Attributes:
        task: Its name.
        bound: Where the limit is, in the task's unit.
        at_least: Whether the score must be at least the bound; else at most.
    """

    task: str
    bound: float
    at_least: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.bound):
            raise InputError(f"the limit of {self.task} must be a number, got {self.bound!r}")

    def missed_by(self, scores: Mapping[str, float]) -> float:
        """Return how far scores, by task, are beyond the limit; 0 if it holds."""
        gap = self.bound - scores[self.task]
        return max(0.0, gap if self.at_least else -gap)

    def __str__(self) -> str:
        return f"{self.task}{'>=' if self.at_least else '<='}{self.bound:g}"


class Utility:
    """Σ weight · score over tasks, a lower-is-better task counted negative, minus a price for missed limits.

    Args:
        scores: MergingWeights to its score by task; asked once a mixture.
        weights: Weight by task; at least one, positive. One task alone keeps its own unit and direction.
        higher_is_better: Direction by task, for every task that has a weight.
        limits: What must hold.
        prepare: Told the mixtures that `scores` will be asked for next.

    Raises:
        InputError: If a weight is not positive.
    """

    def __init__(
        self,
        scores: Callable[[MergingWeights], Mapping[str, float]],
        weights: Mapping[str, float],
        higher_is_better: Mapping[str, bool],
        limits: Sequence[Limit] = (),
        prepare: Callable[[Sequence[MergingWeights]], None] | None = None,
    ) -> None:
        if not weights or not all(0 < weight < math.inf for weight in weights.values()):
            raise InputError(f"a utility needs positive weights, got {dict(weights)}")
        self._scores, self._weights, self._limits = scores, dict(weights), tuple(limits)
        self._prepare = prepare
        self._upwards = {task: higher_is_better[task] for task in weights}
        self._known: dict[str, tuple[MergingWeights, Mapping[str, float]]] = {}

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that weigh or limit."""
        return list(dict.fromkeys([*self._weights, *(limit.task for limit in self._limits)]))

    @property
    def objective(self) -> Objective:
        """What a search maximises or minimises."""
        if len(self._weights) == 1:
            [(task, upwards)] = self._upwards.items()
            sign = 1.0 if upwards else -1.0
            return Objective(
                lambda mixture: sign * self._value(mixture, {task: 1.0}), upwards, prepare=self._prepare
            )
        return Objective(lambda mixture: self._value(mixture, self._weights), True, prepare=self._prepare)

    def scores(self, mixture: MergingWeights) -> Mapping[str, float]:
        """Return a mixture's scores by task, measured once."""
        if mixture.key not in self._known:
            self._known[mixture.key] = (mixture, self._scores(mixture))
        return self._known[mixture.key][1]

    def feasible(self, steps: Sequence[Evaluation]) -> list[Evaluation]:
        """Keep the evaluations that miss no limit.

        Args:
            steps: What was tried.

        Returns:
            Those where all limits hold.

        Raises:
            InputError: If there is none; names the closest and what it misses.
        """
        held = [step for step in steps if not self._missed(step.mixture)]
        if not held:
            closest = min((step.mixture for step in steps), key=self._missed)
            limits = ", ".join(
                f"{limit} (got {self.scores(closest)[limit.task]:.6g})" for limit in self._limits
            )
            raise InputError(
                f"none of {len(steps)} mixtures keeps within the limits; closest is {closest.label} with "
                f"{limits}: relax a limit or raise the budget"
            )
        return held

    def front(self) -> list[tuple[MergingWeights, Mapping[str, float]]]:
        """List the Pareto front in the order tried: mixtures that no other one dominates."""
        known = list(self._known.values())
        gains = [
            [scores[task] if up else -scores[task] for task, up in self._upwards.items()]
            for _, scores in known
        ]
        return [
            known[i] for i, mine in enumerate(gains) if not any(_dominates(other, mine) for other in gains)
        ]

    def _value(self, mixture: MergingWeights, weights: Mapping[str, float]) -> float:
        scores = self.scores(mixture)
        gains = (w * (scores[t] if self._upwards[t] else -scores[t]) for t, w in weights.items())
        return sum(gains) - PRICE * max(weights.values()) * self._missed(mixture)

    def _missed(self, mixture: MergingWeights) -> float:
        return sum(limit.missed_by(self.scores(mixture)) for limit in self._limits)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
