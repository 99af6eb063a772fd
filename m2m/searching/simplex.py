"""The simplex as a search space: shares of N datasets, with bounds and a pull towards a prior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import SUM_TOLERANCE, Mixture
from m2m.support.arrays import Floats


class Simplex:
    """Mixtures with shares between bounds.

    Args:
        datasets: The N dataset names, in the run's order.
        lower: Least share by dataset; 0 where not given.
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
        self.lower = _shares(self.datasets, lower or {}, 0.0, "lower bounds")
        self.upper = np.minimum(_shares(self.datasets, upper or {}, 1.0, "upper bounds"), 1.0)
        self._check_bounds()
        self.prior = _prior(self.datasets, prior)
        self.strength = strength
        if strength < 0:
            raise MixtureError(f"the prior's strength must not be negative, got {strength}")

    def __contains__(self, mixture: Mixture) -> bool:
        shares = np.array(mixture.weights)
        return mixture.datasets == self.datasets and bool(
            ((shares >= self.lower - SUM_TOLERANCE) & (shares <= self.upper + SUM_TOLERANCE)).all()
        )

    def __iter__(self) -> Iterator[Mixture]:
        raise MixtureError("the simplex has no end of mixtures: name a strategy that samples it")

    def sample(self, random: Random) -> Mixture:
        """Draw a mixture: uniform on the simplex, then moved into the bounds.

        Args:
            random: Where the draw comes from.

        Returns:
            The mixture.
        """
        parts = np.array([random.expovariate(1) for _ in self.datasets])
        return self.mixture(self.nearest(parts / parts.sum()))

    def mixture(self, point: Floats) -> Mixture:
        """Name a point of the simplex.

        Args:
            point: Shares that sum to 1 but for rounding. [N]

        Returns:
            The mixture.
        """
        shares = np.clip(point, 0, None)
        return Mixture(self.datasets, tuple((shares / shares.sum()).tolist()))

    def nearest(self, point: Floats) -> Floats:
        """Project onto the mixtures within the bounds: the closest one, by bisection on the common shift.

        Args:
            point: Any point, or several. [..., N]

        Returns:
            The shares. [..., N]
        """
        low = (self.lower - point).min(-1, keepdims=True)
        high = (self.upper - point).max(-1, keepdims=True)
        for _ in range(100):  # the interval is halved each time: far below float64's resolution
            middle = (low + high) / 2
            below = np.clip(point + middle, self.lower, self.upper).sum(-1, keepdims=True) < 1
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.clip(point + high, self.lower, self.upper))

    def penalty(self, mixture: Mixture) -> float:
        """Return what is added to a mixture's loss for being away from the prior.

        Args:
            mixture: A mixture of this space.

        Returns:
            β Σ λ_n log(λ_n / prior_n), with 0 log 0 = 0.
        """
        return float(self.penalties(np.array([mixture.weights]))[0])

    def penalties(self, points: Floats) -> Floats:
        """Return what is added to the losses of mixtures for being away from the prior.

        Args:
            points: A mixture a row. [M, N]

        Returns:
            β Σ λ_n log(λ_n / prior_n) of each, with 0 log 0 = 0. [M]
        """
        ratios = np.where(points > 0, points, self.prior) / self.prior
        return np.asarray(self.strength * (points * np.log(ratios)).sum(-1))

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
    if unknown := set(given) - set(datasets):
        raise MixtureError(f"unknown datasets {sorted(unknown)} in the {what}; there are {list(datasets)}")
    shares = np.array([float(given.get(name, default)) for name in datasets])
    if not (np.isfinite(shares) & (shares >= 0)).all():
        raise MixtureError(f"{what} must be finite and not negative, got {dict(given)}")
    return shares


def _prior(datasets: Sequence[str], given: Mapping[str, float] | None) -> Floats:
    prior = _shares(datasets, given or {}, 0.0 if given else 1 / len(datasets), "prior")
    if abs(prior.sum() - 1) > SUM_TOLERANCE or prior.min() <= 0:
        raise MixtureError(
            f"the prior must sum to 1 with a positive share for each of {list(datasets)}, got {given}"
        )
    return prior
