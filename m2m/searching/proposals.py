"""Which mixtures to try next, given a landscape that stands for the objective."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from m2m.mixture import Mixture
from m2m.searching.landscape import Landscape
from m2m.searching.pool import Pool
from m2m.searching.simplex import Simplex
from m2m.searching.simplex_proposals import SimplexProposals
from m2m.searching.space import Subsets
from m2m.searching.subset_proposals import SubsetProposals
from m2m.support.arrays import Floats

#: Up to this many mixtures all are looked at; beyond, local descents from many starts.
ALL_AT_ONCE = 4096


class Proposals(Protocol):
    """Finds mixtures of a space where a landscape is low."""

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose about `count` mixtures to begin with: [M, N]."""

    def lowest(self, landscape: Landscape, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find mixtures where a landscape is low, the lowest first: [M, N]."""

    def mixture(self, point: Floats) -> Mixture:
        """Name one of the mixtures proposed: [N]."""


class ListedProposals:
    """All mixtures of a space that is small enough to look at every one.

    Args:
        mixtures: The mixtures.
    """

    def __init__(self, mixtures: Iterable[Mixture]) -> None:
        self._mixtures = {mixture.weights: mixture for mixture in mixtures}
        self._points = np.array(list(self._mixtures))

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose mixtures to begin with.

        Args:
            count: How many; fewer if the space has no more.
            generator: Where draws come from.

        Returns:
            A mixture a row. [M, N]
        """
        return np.asarray(self._points[generator.permutation(len(self._points))[:count]])

    def lowest(self, landscape: Landscape, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Order all mixtures.

        Args:
            landscape: The landscape.
            incumbents: Not used.
            generator: Not used.

        Returns:
            All mixtures, the lowest first. [M, N]
        """
        return np.asarray(self._points[landscape.at(self._points).argsort(kind="stable")])

    def mixture(self, point: Floats) -> Mixture:
        """Name a proposal.

        Args:
            point: One of the mixtures proposed. [N]

        Returns:
            The mixture.
        """
        return self._mixtures[tuple(point.tolist())]


def proposals_for(space: Subsets | Simplex | Pool) -> Proposals:
    """Choose how to find low places in a space.

    Args:
        space: The mixtures that may be tried.

    Returns:
        What proposes mixtures of that space.
    """
    if isinstance(space, Simplex):
        return SimplexProposals(space)
    if space.count <= ALL_AT_ONCE or isinstance(space, Pool):
        return ListedProposals(space)
    return SubsetProposals(space)
