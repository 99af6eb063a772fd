"""The lowest point of a smooth landscape on a bounded simplex, with or without a pull to the prior."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from m2m.searching.simplex import Simplex
from m2m.support.arrays import Floats, Ints

#: A share below this is none: KL's slope at 0 is infinite, so descents stop here.
SMALLEST = 1e-9
#: Change of the loss, relative to its size at the start, at which a descent ends.
PRECISION = 1e-12


class Smooth(Protocol):
    """What can be minimised: a `Quadratic` or a `Landscape`."""

    def at(self, points: Floats) -> Floats:
        """Evaluate: [M, N] to [M]."""

    def gradient(self, point: Floats) -> Floats:
        """Differentiate: [N] to [N]."""


def minimise(landscape: Smooth, space: Simplex, starts: Floats) -> Floats:
    """Go downhill from every start by sequential quadratic programming (Kraft, 1988).

    On a convex quadratic every start ends in the global minimum; otherwise in a local one each. A descent
    that ends above its start, or nowhere, counts as ended there: whatever the optimiser says of itself, what
    counts is the loss where it stopped, and no end is above its start.

    Args:
        landscape: What is minimised, beside the space's penalty.
        space: The mixtures that are allowed.
        starts: Where to start; moved into the bounds. [M, N]

    Returns:
        The end points, lowest first; ends that differ by less than 1e-6 in every share are one. [K, N]
    """
    from scipy.optimize import minimize

    def loss(point: Floats) -> tuple[float, Floats]:
        ratio = np.log(np.maximum(point, SMALLEST) / space.prior)
        value = landscape.at(point[None])[0] + space.strength * point @ ratio
        return float(value) / unit, (landscape.gradient(point) + space.strength * (ratio + 1)) / unit

    ends = []
    values = landscape.at(starts)
    unit = float(np.ptp(values)) or 1.0
    for start in map(space.nearest, starts):
        found = minimize(
            loss,
            start,
            jac=True,
            method="SLSQP",
            bounds=list(zip(space.lower, space.upper, strict=True)),
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
            options={"maxiter": 200, "ftol": PRECISION},
        )
        point = np.where(found.x < SMALLEST, 0.0, found.x)
        end = space.nearest(point) if np.isfinite(point).all() else start
        ends.append(min(((loss(p)[0], p) for p in (end, start)), key=lambda pair: pair[0]))
    return _distinct(np.array([point for _, point in sorted(ends, key=lambda end: end[0])]))


def lattice(n: int) -> Floats:
    """List the corners and edge middles of the simplex: Scheffé's {N, 2} lattice.

    Args:
        n: N.

    Returns:
        N corners, then N(N − 1)/2 middles. [N(N + 1)/2, N]
    """
    first, second = np.triu_indices(n, 1)
    return np.vstack([np.eye(n), edge_middles(n, first, second)])


def edge_middles(n: int, first: Ints, second: Ints) -> Floats:
    """Make middles of edges of the simplex, some of them only: all those of 1,000 datasets take 4 GB.

    Args:
        n: N.
        first: One end of each edge. [M]
        second: The other. [M]

    Returns:
        The middles. [M, N]
    """
    middles = np.zeros((len(first), n))
    rows = np.arange(len(first))
    middles[rows, first] = middles[rows, second] = 0.5
    return middles


def _distinct(points: Floats) -> Floats:
    kept: list[Floats] = []
    for point in points:
        if all(np.abs(point - other).max() > 1e-6 for other in kept):
            kept.append(point)
    return np.array(kept)
