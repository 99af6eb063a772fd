"""One dataset at a time: forward or backward, then local moves from the best subset on the way."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from m2m.searching.objective import Evaluation, Ledger
from m2m.searching.space import Subsets
from m2m.searching.strategy import Strategy


@dataclass(frozen=True)
class Greedy(Strategy):
    """Walk all the way up (or down), always to the best neighbour, then improve the best subset seen.

    A mean of experts is not monotone in its members: the walk goes on through worse subsets, since a better
    one may lie behind them. It starts at all subsets of the first size, and takes N(N + 1)/2 evaluations for
    N datasets without size limits.

    Attributes:
        direction: `forward` from the smallest subsets, `backward` from the largest ones.
        swaps: Whether to go on from the best subset by adding, dropping or swapping a member while it helps.
    """

    direction: Literal["forward", "backward"] = "forward"
    swaps: bool = True

    def explore(self, ledger: Ledger, space: Subsets, random: Random) -> None:
        """Walk, then improve.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Not used.
        """
        forward = self.direction == "forward"
        neighbours = list(space.of_size(space.smallest if forward else space.largest))
        while neighbours:
            here = ledger.best([ledger(mixture) for mixture in neighbours])
            neighbours = space.larger(here.mixture) if forward else space.smaller(here.mixture)
        if self.swaps:
            _improve(ledger.best(ledger.trajectory), ledger, space)


def _improve(here: Evaluation, ledger: Ledger, space: Subsets) -> None:
    while True:
        best = ledger.best([here, *(ledger(mixture) for mixture in space.neighbours(here.mixture))])
        if best == here:
            return
        here = best
