"""Which of very many subsets to try next, given a landscape that stands for the objective."""

from __future__ import annotations

import numpy as np

from m2m.mixture import Mixture
from m2m.searching.landscape import Landscape
from m2m.searching.space import Subsets
from m2m.searching.subset_quadratic import SubsetQuadratic
from m2m.support.arrays import Floats

#: Random starts of the descents, beside the incumbents.
STARTS = 12


class SubsetProposals:
    """Finds the subsets where a landscape is low.

    Args:
        space: The subsets that may be tried.
    """

    def __init__(self, space: Subsets) -> None:
        self._space = space
        self._choices = space.choices

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose mixtures to begin with.

        Args:
            count: How many; some may be the same.
            generator: Where draws come from.

        Returns:
            A mixture a row. [M, N]
        """
        return self._choices.points(self._choices.random(count, generator))

    def lowest(self, landscape: Landscape, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find mixtures where a landscape is low.

        Args:
            landscape: The landscape.
            incumbents: Mixtures to start from as well. [I, N]
            generator: Where random starts come from.

        Returns:
            Mixtures, the lowest first; some may be the same. [M, N]
        """
        quadratic = SubsetQuadratic(landscape.quadratic, self._choices)
        starts = (incumbents @ self._choices.units.T > 0).astype(float)
        minima = quadratic.descend(np.vstack([starts, self._choices.random(STARTS, generator)]))
        points, best = self._choices.points(minima), np.inf
        # The quadratic leads there; the whole landscape says where exactly.
        while (values := landscape.at(points)).min() < best:
            best, found = values.min(), points[values.argmin()]
            points = np.vstack([points, self._one_move_from(found)])
        return points[values.argsort(kind="stable")]

    def mixture(self, point: Floats) -> Mixture:
        """Name a proposal.

        Args:
            point: One of the mixtures proposed. [N]

        Returns:
            The subset.
        """
        members = [name for name, weight in zip(self._space.datasets, point, strict=True) if weight > 0]
        return Mixture.subset(self._space.datasets, members)

    def _one_move_from(self, point: Floats) -> Floats:
        # Subsets with a unit more or less. [K, N]
        moved = np.abs((point @ self._choices.units.T > 0) - np.eye(len(self._choices.units)))
        count = moved.sum(1)
        return self._choices.points(moved[(count >= self._choices.fewest) & (count <= self._choices.most)])
