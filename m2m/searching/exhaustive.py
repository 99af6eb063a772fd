"""Try everything: what Merge to Mix does for its 63 and 127 subsets (arXiv 2505.16066)."""

from __future__ import annotations

from random import Random

from m2m.searching.objective import Ledger
from m2m.searching.pool import Pool
from m2m.searching.space import Subsets
from m2m.searching.strategy import Strategy


class Exhaustive(Strategy):
    """Every subset, small ones first, so that a short budget is spent on the small ones."""

    spaces = (Subsets, Pool)

    def explore(self, ledger: Ledger, space: Subsets | Pool, random: Random) -> None:
        """Try every mixture in order.

        Args:
            ledger: Evaluates and remembers.
            space: The mixtures that may be tried.
            random: Not used.
        """
        for mixture in space:
            ledger(mixture)
