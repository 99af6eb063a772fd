"""The simplex between bounds as a search space: shares of the datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from random import Random
from typing import Any

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import EPSILON, SUM_TOLERANCE, MergingWeights, Mixture, clean_share
from m2m.searching.spaces import check_known
from m2m.support.arrays import Floats

#: A smaller share is none: not one example of a thousand million.
SMALLEST_SHARE = 1e-9


class Simplex:
    """Mixtures with shares between bounds.

    Its points are clean: a share is 0 or at least `SMALLEST_SHARE`, and a fraction such as ¼ or 2/7 where it
    is one but for rounding, so that points that are the same have the same key.

    Args:
        datasets: The N dataset names, in the run's order.
        lower: Least share by dataset; 0 where not given, or below `SMALLEST_SHARE`.
        upper: Largest share by dataset; 1 where not given. See `repetition_caps`.
        prior: Shares to stay close to, by dataset; none may be 0.
        strength: β of the penalty β·KL(λ‖prior) that is added to the loss (as in Olmix), in the loss's unit.

    Attributes:
        datasets: The N dataset names.
        lower: Least shares. [N]
        upper: Largest shares. [N]
        prior: The prior's shares, uniform if none was given. [N]
        strength: β.
        count: Infinite.

    Raises:
        MixtureError: If a name is unknown, no mixture fits the bounds, or the prior is none.
    """

    count = float("inf")

    def __init__(
        self,
        datasets: Sequence[str],
        lower: Mapping[str, float] | None = None,
        upper: Mapping[str, float] | None = None,
        prior: Mapping[str, float] | None = None,
        strength: float = 0.0,
    ) -> None:
        self.datasets = tuple(datasets)
        self.lower = _some(_shares(self.datasets, lower or {}, 0.0, "lower bounds"))
        self.upper = _some(np.minimum(_shares(self.datasets, upper or {}, 1.0, "upper bounds"), 1.0))
        self._check_bounds()
        self.prior = _prior(self.datasets, prior)
        self.strength = strength
        if strength < 0:
            raise MixtureError(f"the prior's strength must not be negative, got {strength}")

    def __contains__(self, mixture: MergingWeights) -> bool:
        shares = np.array(mixture.weights)
        return (
            mixture.datasets == self.datasets
            and mixture.scale == 1
            and bool(((shares >= self.lower - SUM_TOLERANCE) & (shares <= self.upper + SUM_TOLERANCE)).all())
        )

    def __iter__(self) -> Iterator[Mixture]:
        raise MixtureError("the simplex has no end of mixtures: name a strategy that samples it")

    @property
    def corners(self) -> Floats:
        """Points [K, N] between which a Scheffé lattice of the space lies: the corners of the simplex."""
        return np.eye(len(self.datasets))

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Least and largest weight of each dataset, as scipy's optimisers take them. [N]."""
        return list(zip(self.lower.tolist(), self.upper.tolist(), strict=True))

    @property
    def constraints(self) -> list[dict[str, Any]]:
        """What ties the weights together, as scipy's SLSQP takes it."""
        return [{"type": "eq", "fun": lambda point: point.sum() - 1, "jac": np.ones_like}]

    def shrunken(self, centre: Floats, region: float) -> Simplex:
        """Return the part of the space that lies around a point [N] of it, `region` times as large."""
        # The simplex shrunken around the centre is where no share falls below (1 - region) of the centre's.
        other = copy(self)
        other.lower = _some(np.minimum(np.maximum(self.lower, (1 - region) * centre), self.upper))
        other._check_bounds()
        return other

    def placed(self, shares: Floats, generator: np.random.Generator) -> Floats:
        """Make points of the space of shares [..., N]: here these are points already."""
        return shares

    def on_a_simplex(self, points: Floats) -> Floats:
        """Coordinates [M, K] of points [M, N] that are not negative and sum to 1: here the points."""
        return points

    def sample(self, random: Random) -> Mixture:
        """Draw a mixture: uniform on the simplex, then moved into the bounds."""
        parts = np.array([random.expovariate(1) for _ in self.datasets])
        return self.mixture(self.nearest(parts / parts.sum()))

    def mixture(self, point: Floats) -> Mixture:
        """Name a point [N] of the simplex, cleaned of what rounding left; of others, the nearest."""
        return Mixture(
            self.datasets, tuple(clean_share(share, self._rounding) for share in self.nearest(point).tolist())
        )

    def nearest(self, point: Floats) -> Floats:
        """Project points [..., N] onto the mixtures within the bounds; what is one already keeps its bits."""
        points = np.reshape(point, (-1, len(self.datasets)))
        near = np.clip(points, self.lower, self.upper)
        outside = np.abs(near.sum(-1) - 1) > self._rounding
        if outside.any():
            # Twice: the shift of a far point is as coarse as the point's numbers, that of shares is not.
            near[outside] = self._shifted(self._shifted(points[outside]))
        return self._settled(near).reshape(np.shape(point))

    @property
    def _rounding(self) -> float:
        # N roundings of numbers ≤ 1, and as many of their sums.
        return len(self.datasets) * EPSILON

    def _shifted(self, points: Floats) -> Floats:
        # The projection [M, N] by bisection on the shift that all shares have in common.
        low = (self.lower - points).min(-1, keepdims=True)
        high = (self.upper - points).max(-1, keepdims=True)
        for _ in range(100):  # the interval is halved each time: far below float64's resolution
            middle = (low + high) / 2
            below = np.clip(points + middle, self.lower, self.upper).sum(-1, keepdims=True) < 1
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.clip(points + high, self.lower, self.upper))

    def _settled(self, near: Floats) -> Floats:
        # Shares so small that they are none go to the share with the most room, if that can take them.
        settled = _some(near)
        gap = 1 - settled.sum(-1)
        room = np.where(gap[:, None] > 0, (self.upper - settled) * (settled > 0), settled - self.lower)
        rows, most = np.arange(len(near)), room.argmax(-1)
        off = np.abs(gap) > self._rounding
        settled[rows, most] += np.where(off, gap, 0.0)
        lost = off & (room[rows, most] < np.abs(gap))
        settled[lost] = near[lost]
        return np.asarray(np.clip(settled, self.lower, self.upper))

    def penalty(self, mixture: MergingWeights) -> float:
        """Return the penalty β·KL(λ‖prior) of one mixture."""
        return float(self.penalties(np.array([mixture.weights]))[0])

    def penalties(self, points: Floats) -> Floats:
        """Return β Σ λ_n log(λ_n / prior_n) [M] of points [M, N], with 0 log 0 = 0: it is added to losses."""
        ratios = np.where(points > 0, points, self.prior) / self.prior
        return np.asarray(self.strength * (points * np.log(ratios)).sum(-1))

    def pull(self, point: Floats) -> tuple[float, Floats]:
        """Return the penalty of one point [N] and its slope [N], both also where a share is none."""
        # KL's slope at 0 is infinite, so descents stop where a share is none.
        ratio = np.log(np.maximum(point, SMALLEST_SHARE) / self.prior)
        return float(self.strength * point @ ratio), self.strength * (ratio + 1)

    def _check_bounds(self) -> None:
        for name, low, high in zip(self.datasets, self.lower, self.upper, strict=True):
            if low > high:
                raise MixtureError(
                    f"no mixture fits: {name}'s lower bound {low} is above its upper bound {high}"
                )
        if self.lower.sum() > 1 + SUM_TOLERANCE:
            raise MixtureError(
                f"no mixture fits: the lower bounds sum to {self.lower.sum():.6g}, above 1; lower some"
            )
        if self.upper.sum() < 1 - SUM_TOLERANCE:
            raise MixtureError(
                f"no mixture fits: the upper bounds sum to {self.upper.sum():.6g}, below 1; raise some "
                f"(more repetitions), add a dataset, or train on fewer tokens"
            )


def repetition_caps(tokens: Mapping[str, float], total: float, repetitions: float = 1.0) -> dict[str, float]:
    """Cap shares so that no dataset is repeated more than so often.

    Args:
        tokens: Size of each dataset, in tokens.
        total: Tokens that will be trained on.
        repetitions: How often a token may be seen; four are about as good as new (arXiv 2305.16264).

    Returns:
        Largest share by dataset, for `Simplex(upper=...)`.

    Raises:
        MixtureError: If a size, the total or the repetitions are not positive.
    """
    if min([*tokens.values(), total, repetitions]) <= 0:
        raise MixtureError(
            f"tokens, total and repetitions must be positive, got {dict(tokens)}, {total}, {repetitions}"
        )
    return {name: min(1.0, repetitions * count / total) for name, count in tokens.items()}


def _shares(datasets: Sequence[str], given: Mapping[str, float], default: float, what: str) -> Floats:
    check_known(given, datasets, f" in the {what}")
    shares = np.array([float(given.get(name, default)) for name in datasets])
    if not (np.isfinite(shares) & (shares >= 0)).all():
        raise MixtureError(f"{what} must be finite and not negative, got {dict(given)}")
    return shares


def _some(shares: Floats) -> Floats:
    return np.where(shares < SMALLEST_SHARE, 0.0, shares)


def _prior(datasets: Sequence[str], given: Mapping[str, float] | None) -> Floats:
    prior = _shares(datasets, given or {}, 0.0 if given else 1 / len(datasets), "prior")
    if abs(prior.sum() - 1) > SUM_TOLERANCE or prior.min() <= 0:
        raise MixtureError(
            f"the prior must sum to 1 with a positive share for each of {list(datasets)}, got {given}"
        )
    return prior
