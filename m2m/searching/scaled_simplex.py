"""Shares times one scale as a search space: merging weights that need not sum to one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import EPSILON, SUM_TOLERANCE, MergingWeights, Mixture, clean_share
from m2m.searching.simplex import Simplex
from m2m.support.arrays import Floats

#: Scales that are searched unless others are asked for: from half of a mixture's way to twice as far.
SCALES = (0.5, 2.0)


class ScaledSimplex:
    """Merging weights α = s·λ: shares λ on a simplex, times one scale s within a range.

    The merged model θ₀ + s Σ λ_n (θ_n − θ₀) goes s times as far along the mean task vector as the mixture's
    own; the base model has weight 1 − s in it. What λ may be, and its prior, are the simplex's. Points are α.

    Args:
        simplex: The shares that may be tried.
        low: Least scale, above 0: at 0 all shares are the base model.
        high: Largest scale.

    Attributes:
        simplex: The shares that may be tried.
        low: Least scale.
        high: Largest scale.
        datasets: The N dataset names.
        count: Infinite.

    Raises:
        MixtureError: If the range is none.
    """

    count = math.inf

    def __init__(self, simplex: Simplex, low: float = SCALES[0], high: float = SCALES[1]) -> None:
        if not 0 < low <= high < math.inf:
            raise MixtureError(
                f"scales must be a range above 0, the smaller one first, got {low:g} and {high:g}; at 0 all "
                "shares are the base model"
            )
        self.simplex, self.low, self.high = simplex, low, high
        self.datasets = simplex.datasets

    def __contains__(self, weights: MergingWeights) -> bool:
        low, high = self.low * (1 - SUM_TOLERANCE), self.high * (1 + SUM_TOLERANCE)
        return (
            weights.datasets == self.datasets
            and min(weights.weights) >= 0
            and low <= weights.scale <= high
            and weights.mixture in self.simplex
        )

    def __iter__(self) -> Iterator[Mixture]:
        raise MixtureError("shares and scales have no end: name a strategy that samples them")

    @property
    def prior(self) -> Floats:
        """The prior's shares [N], at scale 1."""
        return self.simplex.prior

    @property
    def corners(self) -> Floats:
        """Points [N + 1, N] between which a Scheffé lattice lies: each expert furthest, the prior nearest."""
        return np.vstack([self.high * self.simplex.corners, self.low * self.prior])

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Least and largest weight of each dataset, as scipy's optimisers take them. [N]."""
        return [(self.low * least, self.high * most) for least, most in self.simplex.bounds]

    @property
    def constraints(self) -> list[dict[str, Any]]:
        """What ties weights together, as scipy's SLSQP takes it: the scale's range, the shares' bounds."""
        # low ≤ Σα ≤ high, α_n ≥ lower_n Σα, α_n ≤ upper_n Σα: all are linear in α.
        n, simplex = len(self.datasets), self.simplex
        capped, floored = simplex.upper < 1, simplex.lower > 0
        rows = np.vstack(
            [
                np.ones((1, n)),
                -np.ones((1, n)),
                (simplex.upper[:, None] - np.eye(n))[capped],
                (np.eye(n) - simplex.lower[:, None])[floored],
            ]
        )
        offsets = np.concatenate([[-self.low, self.high], np.zeros(len(rows) - 2)])
        return [{"type": "ineq", "fun": lambda point: rows @ point + offsets, "jac": lambda _: rows}]

    def shrunken(self, centre: Floats, region: float) -> ScaledSimplex:
        """Return the part of the space that lies around a point [N] of it, `region` times as large."""
        scale = min(max(float(centre.sum()), self.low), self.high)
        return ScaledSimplex(
            self.simplex.shrunken(centre / centre.sum(), region),
            scale - region * (scale - self.low),
            scale + region * (self.high - scale),
        )

    def placed(self, shares: Floats, generator: np.random.Generator) -> Floats:
        """Make points of the space of shares [..., N]: each at a scale drawn uniformly from the range."""
        return np.asarray(shares * generator.uniform(self.low, self.high, (*shares.shape[:-1], 1)))

    def on_a_simplex(self, points: Floats) -> Floats:
        """Coordinates [M, N + 1] of points [M, N] that sum to 1 and, but for rounding, are not negative."""
        # θ₀ + Σ α_n τ_n = (1 − Σα/S) θ₀ + Σ (α_n/S)(θ₀ + S τ_n) at the largest scale S: the base model is one
        # more component beside the experts at their furthest, so whatever fits mixtures fits this.
        ahead = points / self.high
        return np.hstack([ahead, 1 - ahead.sum(-1, keepdims=True)])

    def sample(self, random: Random) -> MergingWeights:
        """Draw weights: shares as the simplex draws them, and a scale uniformly."""
        shares = np.array(self.simplex.sample(random).weights)
        return self.mixture(random.uniform(self.low, self.high) * shares)

    def mixture(self, point: Floats) -> MergingWeights:
        """Name a point [N], cleaned of what rounding left; of others, one near by."""
        clean = (clean_share(weight, self._rounding) for weight in self.nearest(point).tolist())
        return MergingWeights.of(self.datasets, tuple(clean))

    def nearest(self, point: Floats) -> Floats:
        """Move points [..., N] into the space, shares and scale each; what lies in it keeps its bits."""
        points = np.reshape(point, (-1, len(self.datasets))).clip(0)
        total = points.sum(-1, keepdims=True)
        shares = self.simplex.nearest(np.where(total > 0, points / np.where(total > 0, total, 1), self.prior))
        moved = shares * total.clip(self.low, self.high)
        near = np.where(np.abs(moved - points) <= self._rounding, points, moved)
        return np.where(shares == 0, 0.0, near).reshape(np.shape(point))

    @property
    def _rounding(self) -> float:
        # N roundings of numbers up to the largest scale, of their sums, of quotients and of products.
        return 4 * len(self.datasets) * EPSILON * max(1.0, self.high)

    def penalty(self, weights: MergingWeights) -> float:
        """Return the simplex's penalty of the shares of one candidate."""
        return self.simplex.penalty(weights.mixture)

    def penalties(self, points: Floats) -> Floats:
        """Return the simplex's penalties [M] of the shares of points [M, N]."""
        return self.simplex.penalties(points / points.sum(-1, keepdims=True))

    def pull(self, point: Floats) -> tuple[float, Floats]:
        """Return the penalty of one point [N] and its slope [N], both also where a share is none."""
        total = max(float(point.sum()), self.low)
        shares = point / total
        value, slope = self.simplex.pull(shares)
        return value, (slope - slope @ shares) / total


#: The spaces without an end of points.
Continuous = Simplex | ScaledSimplex
