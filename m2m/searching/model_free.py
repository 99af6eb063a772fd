"""Strategies without a model: everything, random order, one member at a time, a beam, annealing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from random import Random
from statistics import pstdev
from typing import Literal

from m2m.searching.objective import Evaluation, Ledger
from m2m.searching.scaled_simplex import Continuous, ScaledSimplex
from m2m.searching.simplex import Simplex
from m2m.searching.spaces import MixtureList, Subsets
from m2m.searching.strategy import Space, Strategy

#: Mixtures of a space that are asked for together where all are.
TOGETHER = 256


class Exhaustive(Strategy):
    """Every subset, small ones first, so that a short budget is spent on the small ones."""

    spaces = (Subsets, MixtureList)

    def explore(self, ledger: Ledger, space: Subsets | MixtureList, random: Random) -> None:
        """Try every mixture in order."""
        mixtures = iter(space)
        while some := list(islice(mixtures, TOGETHER)):
            ledger.round(some)


class RandomSearch(Strategy):
    """Uniform draws without replacement, until the budget or the space is used up."""

    spaces = (Subsets, Simplex, ScaledSimplex, MixtureList)

    def explore(self, ledger: Ledger, space: Space, random: Random) -> None:
        """Try mixtures in random order."""
        # A lazy Fisher-Yates shuffle of the subsets' numbers: it remembers only the places that were swapped,
        # so 2^100 subsets are as easy as 15.
        while isinstance(space, Continuous):
            ledger(space.sample(random))
        moved: dict[int, int] = {}
        for place in range(space.count):
            other = random.randrange(place, space.count)
            ledger(space.at(moved.get(other, other)))
            moved[other] = moved.pop(place, place)


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
        """Walk, then improve."""
        forward = self.direction == "forward"
        neighbours = list(space.of_size(space.smallest if forward else space.largest))
        while neighbours:
            here = ledger.best(ledger.round(neighbours))
            neighbours = space.larger(here.mixture) if forward else space.smaller(here.mixture)
        if self.swaps:
            _improve(ledger.best(ledger.trajectory), ledger, space)


def _improve(here: Evaluation, ledger: Ledger, space: Subsets) -> None:
    while True:
        best = ledger.best([here, *ledger.round(space.neighbours(here.mixture))])
        if best == here:
            return
        here = best


@dataclass(frozen=True)
class Beam(Strategy):
    """Keep the best subsets of a size, and try all their extensions by one member.

    Attributes:
        width: Subsets kept of each size.
    """

    width: int = 4

    def explore(self, ledger: Ledger, space: Subsets, random: Random) -> None:
        """Walk from the smallest size to the largest."""
        layer = list(space.of_size(space.smallest))
        while layer:
            steps = ledger.round(layer)
            kept = ledger.ranked(steps)[: self.width]
            larger = [mixture for step in kept for mixture in space.larger(step.mixture)]
            layer = list({mixture.key: mixture for mixture in larger}.values())


@dataclass(frozen=True)
class Annealing(Strategy):
    """A random walk that goes downhill always and uphill ever less often.

    The temperature starts at the standard deviation of a few random subsets' scores and falls to a
    hundredth of it.

    Attributes:
        moves: Moves a dataset; each costs at most one evaluation.
    """

    moves: int = 20

    def explore(self, ledger: Ledger, space: Subsets, random: Random) -> None:
        """Walk."""
        start = ledger.round([space.sample(random) for _ in space.datasets])
        here, hot = ledger.best(start), pstdev(ledger.losses) or 1.0
        moves = self.moves * len(space.datasets)
        for move in range(moves):
            near = space.neighbours(here.mixture)
            if not near:
                return
            there = ledger(random.choice(near))
            rise = ledger.loss(there) - ledger.loss(here)
            temperature = hot * 0.01 ** (move / moves)
            if rise <= 0 or random.random() < math.exp(-rise / temperature):
                here = there
