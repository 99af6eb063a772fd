"""Try mixtures at random: the yardstick for every cleverer strategy."""

from __future__ import annotations

from random import Random

from m2m.searching.objective import Ledger
from m2m.searching.pool import Pool
from m2m.searching.simplex import Simplex
from m2m.searching.space import Subsets
from m2m.searching.strategy import Space, Strategy


class RandomSubsets(Strategy):
    """Uniform draws without replacement, until the budget or the space is used up."""

    spaces = (Subsets, Simplex, Pool)

    def explore(self, ledger: Ledger, space: Space, random: Random) -> None:
        """Try mixtures in random order.

        The order is a lazy Fisher-Yates shuffle of the subsets' numbers: it remembers only the places that
        were swapped, so 2^100 subsets are as easy as 15.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Source of the draws.
        """
        while isinstance(space, Simplex):
            ledger(space.sample(random))
        moved: dict[int, int] = {}
        for place in range(space.count):
            other = random.randrange(place, space.count)
            ledger(space.at(moved.get(other, other)))
            moved[other] = moved.pop(place, place)
