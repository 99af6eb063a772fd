"""What a search maximises or minimises, and the ledger of what it has paid for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.support.arrays import LARGEST_SCORE, Floats


@dataclass(frozen=True)
class Objective:
    """A score of a mixture, such as the surrogate score of its merged model.

    Attributes:
        function: A mixture, or merging weights off the simplex, to its score.
        higher_is_better: The score's direction.
        error: The same to the standard error of its score, asked after the score; None where scores are
            exact.
        prepare: Told the mixtures that will be asked for next, in case they are scored faster together.
    """

    function: Callable[[MergingWeights], float]
    higher_is_better: bool
    error: Callable[[MergingWeights], float] | None = None
    prepare: Callable[[Sequence[MergingWeights]], None] | None = None


@dataclass(frozen=True)
class Evaluation:
    """One paid evaluation of the objective.

    Attributes:
        mixture: What was tried: a `Mixture`, or merging weights off the simplex.
        value: Its score.
        predicted: What the strategy's model said it would be, before; None for strategies without a model.
        error: Standard error of the score, in its unit; 0 where it is exact.
    """

    mixture: MergingWeights
    value: float
    predicted: float | None = None
    error: float = 0.0


class BudgetSpentError(Exception):
    """The next evaluation would be over the budget; ends a strategy's walk, users never see it."""


def no_penalty(mixture: MergingWeights) -> float:
    """Prefer no mixture."""
    return 0.0


class Ledger:
    """Evaluates an objective: each mixture once, and no more of them than the budget allows, if there is one.

    The penalty is added to a mixture's loss when mixtures are ranked.
    """

    def __init__(
        self,
        objective: Objective,
        budget: int | None,
        penalty: Callable[[MergingWeights], float] = no_penalty,
    ) -> None:
        if budget is not None and budget < 1:
            raise InputError(f"a search needs a budget of at least one evaluation, got {budget}")
        self._objective = objective
        self._budget = budget
        self._penalty = penalty
        self._known: dict[str, Evaluation] = {}

    @property
    def left(self) -> int:
        """Evaluations that the budget still allows; InputError if there is no budget."""
        if self._budget is None:
            raise InputError("this search needs a budget")
        return self._budget - len(self._known)

    @property
    def losses(self) -> list[float]:
        """The paid evaluations as losses: lower is better, no penalty added; in order."""
        return [self.loss(evaluation) for evaluation in self._known.values()]

    def knows(self, mixture: MergingWeights) -> bool:
        """Whether a mixture was tried, so that asking for it again is free."""
        return mixture.key in self._known

    @property
    def trajectory(self) -> list[Evaluation]:
        """The paid evaluations, in order."""
        return list(self._known.values())

    def observed(self) -> tuple[Floats, Floats]:
        """Return what was tried as arrays: the mixtures [M, N] and their losses [M]."""
        points = np.array([evaluation.mixture.weights for evaluation in self.trajectory])
        return points, np.array(self.losses)

    def __call__(self, mixture: MergingWeights, predicted_loss: float | None = None) -> Evaluation:
        """Evaluate a mixture, or remember its value for free; the strategy expects `predicted_loss`."""
        if mixture.key not in self._known:
            if self._budget is not None and len(self._known) >= self._budget:
                raise BudgetSpentError
            value = float(self._objective.function(mixture))
            if not abs(value) <= LARGEST_SCORE:
                raise InputError(
                    f"the objective of {mixture.label} is {value}; a search needs finite scores of at most "
                    f"{LARGEST_SCORE:g} in size"
                )
            sign = -1 if self._objective.higher_is_better else 1
            predicted = None if predicted_loss is None else sign * predicted_loss
            error = self._objective.error(mixture) if self._objective.error else 0.0
            self._known[mixture.key] = Evaluation(mixture, value, predicted, error)
        return self._known[mixture.key]

    def round(
        self, mixtures: Iterable[MergingWeights], predicted_losses: Iterable[float | None] = repeat(None)
    ) -> list[Evaluation]:
        """Evaluate mixtures that do not depend on each other's scores; the objective is told of all first."""
        listed = list(mixtures)
        if self._objective.prepare is not None:
            new = {mixture.key: mixture for mixture in listed if not self.knows(mixture)}
            left = None if self._budget is None else self.left
            if paid := list(new.values())[:left]:
                self._objective.prepare(paid)
        return [self(mixture, loss) for mixture, loss in zip(listed, predicted_losses, strict=False)]

    def best(self, evaluations: list[Evaluation]) -> Evaluation:
        """Pick the best score; ties go to fewer datasets, then to dataset order."""
        return min(evaluations, key=self._rank)

    def ranked(self, evaluations: list[Evaluation]) -> list[Evaluation]:
        """Order evaluations, the best first, ties decided as in `best`."""
        return sorted(evaluations, key=self._rank)

    def loss(self, evaluation: Evaluation, *, penalised: bool = False) -> float:
        """Return a score as a loss, lower is better, with the space's penalty if `penalised`."""
        loss = -evaluation.value if self._objective.higher_is_better else evaluation.value
        return loss + self._penalty(evaluation.mixture) if penalised else loss

    def _rank(self, evaluation: Evaluation) -> tuple[float, int, list[int], list[float]]:
        mixture = evaluation.mixture
        where = [i for i, weight in enumerate(mixture.weights) if weight > 0]
        loss = self.loss(evaluation, penalised=True)
        return loss, len(where), where, [-mixture.weights[i] for i in where]
