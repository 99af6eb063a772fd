"""Which mixtures to try next, given a landscape that stands for the objective."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from m2m.mixture import Mixture
from m2m.searching.polynomials import Cubic
from m2m.searching.scaled_simplex import Continuous
from m2m.searching.simplex_optimum import edge_middles, minimise
from m2m.searching.spaces import MixtureList, Subsets
from m2m.searching.subset_quadratic import SubsetQuadratic
from m2m.support.arrays import Floats

#: Up to this many mixtures all are looked at; beyond, local descents from many starts.
ALL_AT_ONCE = 4096
#: Descents start from so many of the most promising mixtures:
INCUMBENTS = 12
#: on the simplex, where they take longer, from the first so many and as many random points,
SIMPLEX_STARTS = 4
#: among subsets, from all of them and so many random ones.
SUBSET_STARTS = 12


class Proposals(Protocol):
    """Finds mixtures of a space where a landscape is low."""

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose about `count` mixtures to begin with: [M, N]."""

    def lowest(self, landscape: Cubic, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find mixtures where a landscape is low, the lowest first: [M, N]."""


class ListedProposals:
    """All mixtures of a space that is small enough to look at every one."""

    def __init__(self, mixtures: Iterable[Mixture]) -> None:
        self._points = np.array([mixture.weights for mixture in mixtures])

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose mixtures in random order, fewer if the space has no more: [count, N]."""
        return np.asarray(self._points[generator.permutation(len(self._points))[:count]])

    def lowest(self, landscape: Cubic, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Order all mixtures, the lowest first: [M, N]."""
        return np.asarray(self._points[landscape.at(self._points).argsort(kind="stable")])


def proposals_for(space: Subsets | Continuous | MixtureList) -> Proposals:
    """What finds the low places of a space."""
    if isinstance(space, Continuous):
        return SimplexProposals(space)
    if space.count <= ALL_AT_ONCE or isinstance(space, MixtureList):
        return ListedProposals(space)
    return SubsetProposals(space)


class SimplexProposals:
    """Finds the points of a bounded simplex where a landscape and the prior's penalty are low together."""

    def __init__(self, space: Continuous) -> None:
        self._space = space

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose corners, then middles of edges, then random points, put into the space: [count, N]."""
        # Corners and middles are what a quadratic on the simplex is determined by (Scheffé, 1958).
        n = len(self._space.datasets)
        first, second = np.triu_indices(n, 1)
        order = generator.permutation(len(first))[: max(0, count - n)]
        random = generator.dirichlet(np.ones(n), count)
        points = np.vstack([np.eye(n)[:count], edge_middles(n, first[order], second[order]), random])[:count]
        placed = self._space.placed(points, generator)
        return np.array([self._space.nearest(point) for point in placed])

    def lowest(self, landscape: Cubic, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find minima of landscape and penalty, the lowest first, also from incumbents [I, N]: [M, N]."""
        shares = generator.dirichlet(np.ones(len(self._space.datasets)), SIMPLEX_STARTS)
        random = self._space.placed(shares, generator)
        return minimise(landscape, self._space, np.vstack([incumbents[:SIMPLEX_STARTS], random]))


class SubsetProposals:
    """Finds the subsets where a landscape is low, by local descents."""

    def __init__(self, space: Subsets) -> None:
        self._free = space.free_units

    def design(self, count: int, generator: np.random.Generator) -> Floats:
        """Choose random subsets, some perhaps twice: [count, N]."""
        return self._free.points(self._free.random(count, generator))

    def lowest(self, landscape: Cubic, incumbents: Floats, generator: np.random.Generator) -> Floats:
        """Find subsets by descents from incumbents [I, N] and random starts, the lowest first: [M, N]."""
        quadratic = SubsetQuadratic(landscape.quadratic, self._free)
        starts = (incumbents @ self._free.members.T > 0).astype(float)
        minima = quadratic.descend(np.vstack([starts, self._free.random(SUBSET_STARTS, generator)]))
        points, best = self._free.points(minima), np.inf
        # The quadratic leads there; the whole landscape says where exactly.
        while (values := landscape.at(points)).min() < best:
            best, found = values.min(), points[values.argmin()]
            points = np.vstack([points, self._one_move_from(found)])
        return points[values.argsort(kind="stable")]

    def _one_move_from(self, point: Floats) -> Floats:
        # Subsets with a unit more or less. [K, N]
        moved = np.abs((point @ self._free.members.T > 0) - np.eye(len(self._free.members)))
        count = moved.sum(1)
        return self._free.points(moved[(count >= self._free.fewest) & (count <= self._free.most)])
