"""Simulated annealing over subsets (Kirkpatrick, Gelatt and Vecchi, 1983)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from statistics import pstdev

from m2m.searching.objective import Ledger
from m2m.searching.space import Subsets
from m2m.searching.strategy import Strategy


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
        """Walk.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Source of all random choices.
        """
        start = [ledger(space.sample(random)) for _ in range(len(space.datasets))]
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
