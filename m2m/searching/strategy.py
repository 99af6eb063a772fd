"""What every search strategy offers: the best mixture found, and the whole way to it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from m2m.errors import ConfigError, InputError
from m2m.mixture import MergingWeights
from m2m.searching.objective import BudgetSpentError, Evaluation, Ledger, Objective, no_penalty
from m2m.searching.scaled_simplex import Continuous
from m2m.searching.spaces import MixtureList, Subsets

#: The mixtures a strategy may try.
Space = Subsets | Continuous | MixtureList


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    Attributes:
        best: The best mixture tried; ties go to fewer datasets, then to dataset order.
        value: Its score.
        trajectory: Everything tried, in order.
        complete: Whether the strategy ended by itself, not for want of budget.
    """

    best: MergingWeights
    value: float
    trajectory: tuple[Evaluation, ...]
    complete: bool

    @property
    def evaluations(self) -> int:
        """Number of evaluations paid for."""
        return len(self.trajectory)


class Strategy(ABC):
    """A way through a search space.

    Attributes:
        spaces: The kinds of space it can search.
        ends: Whether it ends by itself on a finite space, without a budget.
    """

    spaces: ClassVar[tuple[type, ...]] = (Subsets,)
    ends: ClassVar[bool] = True

    def search(
        self, objective: Objective, space: Space, budget: int | None = None, seed: int = 0
    ) -> SearchResult:
        """Look for the best mixture.

        Args:
            objective: What is maximised or minimised.
            space: The mixtures that may be tried.
            budget: Most evaluations; asking again for a mixture is free. None for no limit.
            seed: Decides all random choices.

        Returns:
            The best mixture tried, and everything that was tried.

        Raises:
            ConfigError: If the strategy cannot search this kind of space.
            InputError: If it needs a budget and has none.
        """
        if not isinstance(space, self.spaces):
            able = " or ".join(kind.__name__ for kind in self.spaces)
            raise ConfigError(
                f"{type(self).__name__} searches {able}, not {type(space).__name__}; choose another strategy"
            )
        if budget is None and not (self.ends and math.isfinite(space.count)):
            raise InputError(f"{type(self).__name__} does not end by itself here: give it a budget")
        penalty = space.penalty if isinstance(space, Continuous) else no_penalty
        ledger = Ledger(objective, budget, penalty)
        complete = False
        with suppress(BudgetSpentError):
            self.explore(ledger, space, Random(seed))
            complete = True
        best = ledger.best(ledger.trajectory)
        return SearchResult(best.mixture, best.value, tuple(ledger.trajectory), complete)

    @abstractmethod
    def explore(self, ledger: Ledger, space: Any, random: Random) -> None:
        """Try mixtures until there is nothing more to try; the ledger ends the walk when the budget is spent.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Source of all random choices.
        """
