"""The best point of a continuous space: of smooth functions by descents, of any function by sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from m2m.searching.scaled_simplex import Continuous
from m2m.support.arrays import Floats, Ints

#: Points closer than this in every share are one: a descent does not end more exactly.
SAME = 1e-6
#: Change of the loss, relative to its size at the start, at which a descent ends.
PRECISION = 1e-12
#: Rounds of a closer look; the surroundings halve each time, so the last are 2⁻¹² of the simplex.
ROUNDS = 12
#: Points that a round looks around, and how many new ones around each.
PARENTS, CHILDREN = 4, 128


class Smooth(Protocol):
    """What can be minimised: a `Quadratic` or a `Cubic`."""

    def at(self, points: Floats) -> Floats:
        """Evaluate: [M, N] to [M]."""

    def gradient(self, point: Floats) -> Floats:
        """Differentiate: [N] to [N]."""


def minimise(landscape: Smooth, space: Continuous, starts: Floats) -> Floats:
    """Go downhill from every start [M, N], moved into the bounds; local minima [K, N], lowest first."""
    # Sequential quadratic programming (Kraft, 1988) on the landscape and the space's penalty; on a convex
    # quadratic every start ends in the global minimum. A descent that ends above its start, or nowhere,
    # counts as ended there: what counts is the loss where it stopped, whatever the optimiser says of itself.
    from scipy.optimize import minimize

    def loss(point: Floats) -> tuple[float, Floats]:
        penalty, slope = space.pull(point)
        return float(landscape.at(point[None])[0] + penalty) / unit, (
            landscape.gradient(point) + slope
        ) / unit

    ends = []
    values = landscape.at(starts)
    unit = float(np.ptp(values)) or 1.0
    for start in map(space.nearest, starts):
        found = minimize(
            loss,
            start,
            jac=True,
            method="SLSQP",
            bounds=space.bounds,
            constraints=space.constraints,
            options={"maxiter": 200, "ftol": PRECISION},
        )
        end = space.nearest(found.x) if np.isfinite(found.x).all() else start
        ends.append(min(((loss(p)[0], p) for p in (end, start)), key=lambda pair: pair[0]))
    return distinct(np.array([point for _, point in sorted(ends, key=lambda end: end[0])]))


def lattice(n: int) -> Floats:
    """Scheffé's {N, 2} lattice [N(N + 1)/2, N]: the corners of the simplex, then the middles of its edges."""
    first, second = np.triu_indices(n, 1)
    return np.vstack([np.eye(n), edge_middles(n, first, second)])


def edge_middles(n: int, first: Ints, second: Ints) -> Floats:
    """Middles of the edges between corners `first` and `second` [M]: [M, N]; all of N = 1,000 take 4 GB."""
    middles = np.zeros((len(first), n))
    rows = np.arange(len(first))
    middles[rows, first] = middles[rows, second] = 0.5
    return middles


def distinct(points: Floats, known: Floats | None = None) -> Floats:
    """Keep points [M, N] that are new: not the `SAME` as an earlier one, nor as one that is known [K, N]."""
    there = np.empty((0, points.shape[1])) if known is None else known
    kept: list[Floats] = []
    for point in points:
        if not (np.abs(np.vstack([there, *kept]) - point).max(1) <= SAME).any():
            kept.append(point)
    return np.reshape(kept, (-1, points.shape[1]))


@dataclass(frozen=True)
class FineSearch:
    """What a fine search found.

    Attributes:
        best: The mixture of the highest value; of several, their mean if it has it too (trees are flat in
            places). [N]
        points: The points spread over the simplex. [M, N]
        values: Their values, penalty included. [M]
    """

    best: Floats
    points: Floats
    values: Floats

    def mean_of_top(self, count: int) -> Floats:
        """Mean [N] of the best `count` of the points spread (RegMix, arXiv 2407.01492, Sec. 3)."""
        return np.asarray(self.points[np.argsort(-self.values, kind="stable")[:count]].mean(0))


def spread(space: Continuous, count: int, generator: np.random.Generator) -> Floats:
    """Spread points [count, N]: corners, edge middles, then uniform draws, all put into the space."""
    n = len(space.datasets)
    first, second = (ends[: max(0, count - n)] for ends in np.triu_indices(n, 1))
    fixed = np.vstack([np.eye(n)[:count], edge_middles(n, first, second)])
    shares = np.vstack([fixed, generator.dirichlet(np.ones(n), count - len(fixed))])
    return space.nearest(space.placed(shares, generator))


def fine_search(
    value: Callable[[Floats], Floats], space: Continuous, points: Floats, generator: np.random.Generator
) -> FineSearch:
    """Look for the highest value [M] of a function of many mixtures [M, N], less the prior's penalty."""
    # Nothing is asked of the function: it may be made of steps, as boosted trees are. `points` [M, N] are
    # looked at first, as from `spread`.
    n = len(space.datasets)

    def net(at: Floats) -> Floats:
        return value(at) - space.penalties(at)

    values = net(points)
    seen, known = points, values
    for number in range(ROUNDS):
        top = np.argsort(-known, kind="stable")[:PARENTS]
        parents, radius = seen[top], 0.5 ** (number + 1)
        shares = generator.dirichlet(np.ones(n), (len(parents), CHILDREN))
        targets = space.placed(shares, generator)
        children = space.nearest((parents[:, None] + radius * (targets - parents[:, None])).reshape(-1, n))
        seen, known = np.vstack([parents, children]), np.concatenate([known[top], net(children)])
    ends, heights = np.vstack([points, seen]), np.concatenate([values, known])
    highest = ends[heights == heights.max()]
    middle = highest.mean(0)
    best = middle if net(middle[None])[0] >= heights.max() else highest[0]
    return FineSearch(best, points, values)
