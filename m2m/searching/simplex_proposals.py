"""Which points of the simplex to try next, given a landscape that stands for the objective."""

from __future__ import annotations

import numpy as np

from m2m.mixture import Mixture
from m2m.searching.landscape import Landscape
from m2m.searching.simplex import Simplex
from m2m.searching.simplex_minimum import edge_middles, minimise
from m2m.support.arrays import Floats

#: Random starts of the descents, and the incumbents that descents start from.
STARTS, INCUMBENT_STARTS = 4, 4


class SimplexProposals:
    """Finds the points of a bounded simplex where a landscape and the prior's penalty are low together.

    Args:
        space: The mixtures that may be tried.
    """

    def __init__(self, space: Simplex) -> None:
        self._space = space

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose mixtures to begin with: the corners, then the middles of edges, then random ones.

        Corners and middles are what a quadratic on the simplex is determined by (Scheffé, 1958). All are
        moved into the bounds.

        Args:
            count: How many; some may be the same.
            generator: Where draws come from.

        Returns:
            A mixture a row. [M, N]
        """
        n = len(self._space.datasets)
        first, second = np.triu_indices(n, 1)
        order = generator.permutation(len(first))[: max(0, count - n)]
        random = generator.dirichlet(np.ones(n), count)
        points = np.vstack([np.eye(n)[:count], edge_middles(n, first[order], second[order]), random])[:count]
        return np.array([self._space.nearest(point) for point in points])

    def lowest(self, landscape: Landscape, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find mixtures where a landscape and the penalty are low.

        Args:
            landscape: The landscape.
            incumbents: Mixtures to start from as well, the best first. [I, N]
            generator: Where random starts come from.

        Returns:
            Local minima, the lowest first. [M, N]
        """
        random = generator.dirichlet(np.ones(len(self._space.datasets)), STARTS)
        return minimise(landscape, self._space, np.vstack([incumbents[:INCUMBENT_STARTS], random]))

    def mixture(self, point: Floats) -> Mixture:
        """Name a proposal.

        Args:
            point: One of the mixtures proposed. [N]

        Returns:
            The mixture.
        """
        return self._space.mixture(point)
