"""What of a residual is not the training seed's: products of two seeds' residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from analysis.curvature.loss_surface import row_products
from m2m.mixture import Mixture


@dataclass(frozen=True)
class SeedFree:
    """Unbiased parts of one mixture's residual, from two training seeds.

    With Δ₀ = E Δ + noise and Δ₁ = E Δ + other noise, E⟨Δ₀, Δ₁⟩ = ‖E Δ‖², and E⟨Δ₀ − Δ̂, Δ₁ − Δ̂⟩ = ‖E Δ − Δ̂‖²
    for any Δ̂ that knows neither seed. One seed's ‖Δ‖² has the noise in it, which nothing explains.

    Attributes:
        squared: ⟨Δ₀, Δ₁⟩, of ‖E Δ‖².
        left: ⟨Δ₀ − Δ̂, Δ₁ − Δ̂⟩, of what a prediction leaves.
        along: ⟨Δ₀, Δ̂⟩⟨Δ₁, Δ̂⟩/‖Δ̂‖², of the part of E Δ in the prediction's direction; 0 where Δ̂ is zero.
    """

    squared: float
    left: float
    along: float

    @property
    def share(self) -> float | None:
        """Share of ‖E Δ‖² explained; None where the two residuals do not agree in direction at all."""
        return 1 - self.left / self.squared if self.squared > 0 else None


def seed_free(one: Tensor, other: Tensor, predicted: Tensor) -> SeedFree:
    """Compare a prediction [P] with the residuals of two seeds [P]."""
    squared = row_products(one[None], other[None])
    left = row_products((one - predicted)[None], (other - predicted)[None])
    length = float(row_products(predicted[None], predicted[None]))
    both = (float(row_products(row[None], predicted[None])) for row in (one, other))
    return SeedFree(float(squared), float(left), math.prod(both) / length if length else 0.0)


@dataclass(frozen=True)
class PooledShare:
    """Share of all mixtures' seed-free residuals that is explained, 1 − Σ left / Σ squared.

    Attributes:
        value: The share; below 0 if predicting nothing were better. None if it is not known.
        direction: The share if each prediction had the best length, Σ along / Σ squared: the squared cosine
            without the seeds' noise. None likewise.
        low: Lower end of the 95 % interval, from leaving out a dataset with all its mixtures at a time; None
            if there are fewer than four datasets.
        high: Upper end.
        mixtures: Mixtures that two seeds trained.
        reason: Why something is not there.
    """

    value: float | None
    direction: float | None
    low: float | None
    high: float | None
    mixtures: int
    reason: str = ""


def pooled_share(mixtures: Sequence[Mixture], parts: Sequence[SeedFree]) -> PooledShare:
    """Pool the mixtures [M] of one run; the jackknife is over datasets, which mixtures share.

    Args:
        mixtures: The mixtures.
        parts: Their parts.

    Returns:
        The share with its interval (t on N − 1 degrees of freedom).
    """
    if not parts:
        return PooledShare(
            None, None, None, None, 0, "no mixture, or not all experts, were trained with two seeds"
        )
    squared, left, along = np.array([(part.squared, part.left, part.along) for part in parts]).T
    if squared.sum() <= 0:
        return PooledShare(None, None, None, None, len(parts), "two seeds' residuals have nothing in common")
    value, direction = 1 - left.sum() / squared.sum(), float(along.sum() / squared.sum())
    names = mixtures[0].datasets
    kept = [np.array([name not in mixture.members for mixture in mixtures]) for name in names]
    without = [squared[rows].sum() for rows in kept]
    if len(names) < 4 or min(without) <= 0:
        reason = "too few datasets for an interval over datasets"
        return PooledShare(float(value), direction, None, None, len(parts), reason)
    again = np.array([1 - left[rows].sum() / total for rows, total in zip(kept, without, strict=True)])
    reach = stats.t.ppf(0.975, len(names) - 1) * math.sqrt((len(names) - 1) * float(np.var(again)))
    return PooledShare(float(value), direction, float(value - reach), float(value + reach), len(parts))
