"""Which subsets to try next, given a quadratic that stands for the objective."""

from __future__ import annotations

import numpy as np

from m2m.mixture import Mixture
from m2m.searching.quadratic import Floats, Quadratic
from m2m.searching.space import Subsets
from m2m.searching.subset_quadratic import SubsetQuadratic

#: Up to this many subsets all are looked at; beyond, local descents from many starts.
ALL_AT_ONCE = 4096
#: Random starts of the descents, beside the incumbents.
STARTS = 12


class SubsetProposals:
    """Finds the subsets where a quadratic is low.

    Args:
        space: The subsets that may be tried.
    """

    def __init__(self, space: Subsets) -> None:
        self._space = space
        self._choices = space.choices
        self._all = None
        if space.count <= ALL_AT_ONCE:
            self._all = np.array([mixture.weights for mixture in space])

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose mixtures to begin with.

        Args:
            count: How many; fewer if the space has no more.
            generator: Where draws come from.

        Returns:
            A mixture a row. [M, N]
        """
        if self._all is not None:
            return self._all[generator.permutation(len(self._all))[:count]]
        return self._choices.points(self._choices.random(count, generator))

    def lowest(self, quadratic: Quadratic, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find mixtures where a quadratic is low.

        Args:
            quadratic: The quadratic.
            incumbents: Mixtures to start from as well. [I, N]
            generator: Where random starts come from.

        Returns:
            Distinct mixtures, the lowest first. [M, N]
        """
        if self._all is not None:
            return self._all[quadratic.at(self._all).argsort(kind="stable")]
        landscape = SubsetQuadratic(quadratic, self._choices)
        starts = (incumbents @ self._choices.units.T > 0).astype(float)
        minima = landscape.descend(np.vstack([starts, self._choices.random(STARTS, generator)]))
        best = minima[landscape.at(minima).argmin()]
        found = np.unique(np.vstack([minima, self._one_move_from(best)]), axis=0)
        return self._choices.points(found[landscape.at(found).argsort(kind="stable")])

    def mixture(self, point: Floats) -> Mixture:
        """Name a proposal.

        Args:
            point: One of the mixtures proposed. [N]

        Returns:
            The subset.
        """
        members = [name for name, weight in zip(self._space.datasets, point, strict=True) if weight > 0]
        return Mixture.subset(self._space.datasets, members)

    def _one_move_from(self, chosen: Floats) -> Floats:
        # One unit in or out. [K, U]
        moved = np.abs(chosen - np.eye(len(chosen)))
        count = moved.sum(1)
        return np.asarray(moved[(count >= self._choices.fewest) & (count <= self._choices.most)])
