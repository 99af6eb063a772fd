"""What curvature at the base says of a target's loss before any merged model is scored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from m2m.errors import InputError
from m2m.searching.landscape import Landscape
from m2m.searching.quadratic import Quadratic
from m2m.support.arrays import Floats

#: How far a Hessian may be from symmetric, beside its largest entry: it comes from N separate products.
ASYMMETRY = 1e-3


@dataclass(frozen=True)
class QuadraticPrior:
    """L(θ₀ + Σ α_n τ_n) ≈ value + gradientᵀα + ½ αᵀ·hessian·α, exact to second order from N products Hτ_n.

    A search takes it as the mean of its belief before the first evaluation, so that evaluations teach what is
    beyond it.

    Attributes:
        value: Loss at the base.
        gradient: ∇Lᵀτ_n. [N]
        hessian: τ_iᵀ ∇²L τ_j. [N, N]

    Raises:
        InputError: If shapes do not fit, a number is not finite, or the Hessian is not symmetric.
    """

    value: float
    gradient: ArrayLike
    hessian: ArrayLike

    def __post_init__(self) -> None:
        gradient, hessian = np.asarray(self.gradient, float), np.asarray(self.hessian, float)
        n = len(gradient) if gradient.ndim == 1 else -1
        if hessian.shape != (n, n):
            raise InputError(
                f"a quadratic prior needs a gradient [N] and a Hessian [N, N], got shapes "
                f"{list(gradient.shape)} and {list(hessian.shape)}"
            )
        if not (np.isfinite(self.value) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            raise InputError("a quadratic prior needs finite numbers")
        if np.abs(hessian - hessian.T).max() > ASYMMETRY * np.abs(hessian).max():
            raise InputError("the Hessian of a quadratic prior must be symmetric")

    @cached_property
    def landscape(self) -> Landscape:
        """The same over mixtures, α = λ."""
        gradient, hessian = np.asarray(self.gradient, float), np.asarray(self.hessian, float)
        quadratic = Quadratic(float(self.value), gradient, (hessian + hessian.T) / 4)
        return Landscape(quadratic, np.empty((0, len(gradient))), np.empty(0))

    def at(self, points: Floats) -> Floats:
        """Evaluate.

        Args:
            points: A mixture a row. [M, N]

        Returns:
            The losses expected. [M]
        """
        return self.landscape.at(points)
