"""Greedy with memory: the best few subsets of each size, not only the best one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from m2m.searching.objective import Ledger
from m2m.searching.space import Subsets
from m2m.searching.strategy import Strategy


@dataclass(frozen=True)
class Beam(Strategy):
    """Keep the best subsets of a size, and try all their extensions by one member.

    Attributes:
        width: Subsets kept of each size.
    """

    width: int = 4

    def explore(self, ledger: Ledger, space: Subsets, random: Random) -> None:
        """Walk from the smallest size to the largest.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Not used.
        """
        layer = list(space.of_size(space.smallest))
        while layer:
            steps = [ledger(mixture) for mixture in layer]
            kept = ledger.ranked(steps)[: self.width]
            larger = [mixture for step in kept for mixture in space.larger(step.mixture)]
            layer = list({mixture.key: mixture for mixture in larger}.values())
