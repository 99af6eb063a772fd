"""What a search maximises or minimises, and the ledger of what it has paid for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from m2m.errors import InputError
from m2m.mixture import Mixture


@dataclass(frozen=True)
class Objective:
    """A score of a mixture, such as the surrogate score of its merged model.

    Attributes:
        function: Mixture to its score.
        higher_is_better: The score's direction.
    """

    function: Callable[[Mixture], float]
    higher_is_better: bool


@dataclass(frozen=True)
class Evaluation:
    """One paid evaluation of the objective.

    Attributes:
        mixture: What was tried.
        value: Its score.
    """

    mixture: Mixture
    value: float


class BudgetSpentError(Exception):
    """The next evaluation would be over the budget; ends a strategy's walk, users never see it."""


class Ledger:
    """Evaluates an objective: each mixture once, and no more of them than the budget allows.

    Args:
        objective: What is evaluated.
        budget: Most evaluations; None for no limit.

    Attributes:
        trajectory: The paid evaluations, in order.

    Raises:
        InputError: If the budget is below 1.
    """

    def __init__(self, objective: Objective, budget: int | None) -> None:
        if budget is not None and budget < 1:
            raise InputError(f"a search needs a budget of at least one evaluation, got {budget}")
        self._objective = objective
        self._budget = budget
        self._known: dict[str, Evaluation] = {}

    @property
    def losses(self) -> list[float]:
        """The paid evaluations as losses: lower is better. In order."""
        return [self._loss(evaluation) for evaluation in self._known.values()]

    def knows(self, mixture: Mixture) -> bool:
        """Whether a mixture was tried.

        Args:
            mixture: Any mixture.

        Returns:
            True if asking for it again is free.
        """
        return mixture.key in self._known

    @property
    def trajectory(self) -> list[Evaluation]:
        """The paid evaluations, in order."""
        return list(self._known.values())

    def __call__(self, mixture: Mixture) -> Evaluation:
        """Evaluate a mixture, or remember its value for free.

        Args:
            mixture: What to try.

        Returns:
            Its evaluation.

        Raises:
            BudgetSpentError: If this would be one evaluation too many.
            InputError: If the objective is not a finite number there.
        """
        if mixture.key not in self._known:
            if self._budget is not None and len(self._known) >= self._budget:
                raise BudgetSpentError
            value = float(self._objective.function(mixture))
            if not math.isfinite(value):
                raise InputError(f"the objective of {mixture.label} is {value}; a search needs finite scores")
            self._known[mixture.key] = Evaluation(mixture, value)
        return self._known[mixture.key]

    def best(self, evaluations: list[Evaluation]) -> Evaluation:
        """Pick the best score; ties go to fewer datasets, then to dataset order.

        Args:
            evaluations: At least one.

        Returns:
            The best of them.
        """
        return min(evaluations, key=self._rank)

    def improves(self, new: Evaluation, old: Evaluation) -> bool:
        """Whether a score is better, ties decided as in `best`.

        Args:
            new: One evaluation.
            old: Another one.

        Returns:
            True if `new` comes before `old`.
        """
        return self._rank(new) < self._rank(old)

    def _rank(self, evaluation: Evaluation) -> tuple[float, int, list[int], list[float]]:
        mixture = evaluation.mixture
        where = [i for i, weight in enumerate(mixture.weights) if weight > 0]
        return self._loss(evaluation), len(where), where, [-mixture.weights[i] for i in where]

    def _loss(self, evaluation: Evaluation) -> float:
        return -evaluation.value if self._objective.higher_is_better else evaluation.value
