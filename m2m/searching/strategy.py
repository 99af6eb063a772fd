"""What every search strategy offers: the best mixture found, and the whole way to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from m2m.mixture import Mixture
from m2m.searching.objective import BudgetSpentError, Evaluation, Ledger, Objective
from m2m.searching.space import Subsets


@dataclass(frozen=True)
class SearchResult:
    """Outcome of a search.

    Attributes:
        best: The best mixture tried; ties go to fewer datasets, then to dataset order.
        value: Its score.
        trajectory: Everything tried, in order.
        complete: Whether the strategy ended by itself, not for want of budget.
    """

    best: Mixture
    value: float
    trajectory: tuple[Evaluation, ...]
    complete: bool

    @property
    def evaluations(self) -> int:
        """Number of evaluations paid for."""
        return len(self.trajectory)


class Strategy(ABC):
    """A way through a search space."""

    def search(
        self, objective: Objective, space: Subsets, budget: int | None = None, seed: int = 0
    ) -> SearchResult:
        """Look for the best mixture.

        Args:
            objective: What is maximised or minimised.
            space: The mixtures that may be tried.
            budget: Most evaluations; asking again for a mixture is free. None for no limit.
            seed: Decides all random choices.

        Returns:
            The best mixture tried, and everything that was tried.
        """
        ledger = Ledger(objective, budget)
        complete = False
        with suppress(BudgetSpentError):
            self.explore(ledger, space, Random(seed))
            complete = True
        best = ledger.best(ledger.trajectory)
        return SearchResult(best.mixture, best.value, tuple(ledger.trajectory), complete)

    @abstractmethod
    def explore(self, ledger: Ledger, space: Subsets, random: Random) -> None:
        """Try mixtures until there is nothing more to try; the ledger ends the walk when the budget is spent.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Source of all random choices.
        """
