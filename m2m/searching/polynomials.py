"""Polynomials of a mixture: quadratics, cubics, and the quadratic that curvature at the base gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from m2m.errors import InputError
from m2m.support.arrays import Floats

#: How far a Hessian may be from symmetric, beside its largest entry: it comes from N separate products.
ASYMMETRY = 1e-3


@dataclass(frozen=True)
class Quadratic:
    """f(x) = c + gᵀx + xᵀQx at a mixture x, as in a Scheffé quadratic with its redundant terms kept.

    A subset S enters as x = s/|S|, which is where averaging its experts puts the merged model.

    Attributes:
        constant: c.
        linear: g. [N]
        pairs: Q, symmetric; the Hessian is 2Q. [N, N]
    """

    constant: float
    linear: Floats
    pairs: Floats

    def __neg__(self) -> Quadratic:
        return Quadratic(-self.constant, -self.linear, -self.pairs)

    def __add__(self, other: Quadratic) -> Quadratic:
        return Quadratic(self.constant + other.constant, self.linear + other.linear, self.pairs + other.pairs)

    def at(self, points: Floats) -> Floats:
        """Values [M] at mixtures [M, N]."""
        bent = np.einsum("mn,mn->m", points @ self.pairs, points)
        return np.asarray(self.constant + points @ self.linear + bent)

    def gradient(self, point: Floats) -> Floats:
        """Slope g + 2Qx [N] at one mixture [N]."""
        return np.asarray(self.linear + 2 * point @ self.pairs)

    def through(self, matrix: Floats, offset: Floats) -> Quadratic:
        """Return g(y) = f(Ty + t), from T [N, K] and t [N]."""
        bent = self.pairs @ offset
        return Quadratic(
            self.constant + float(offset @ (self.linear + bent)),
            (self.linear + 2 * bent) @ matrix,
            matrix.T @ self.pairs @ matrix,
        )


@dataclass(frozen=True)
class Cubic:
    """f(x) = quadratic(x) + Σ_r c_r (a_rᵀx)³: the mean of a belief, or a draw from it.

    Attributes:
        quadratic: The part up to second order.
        anchors: a. [R, N]
        weights: c. [R]
    """

    quadratic: Quadratic
    anchors: Floats
    weights: Floats

    def __neg__(self) -> Cubic:
        return Cubic(-self.quadratic, self.anchors, -self.weights)

    def __add__(self, other: Cubic) -> Cubic:
        return Cubic(
            self.quadratic + other.quadratic,
            np.vstack([self.anchors, other.anchors]),
            np.concatenate([self.weights, other.weights]),
        )

    def at(self, points: Floats) -> Floats:
        """Values [M] at mixtures [M, N]."""
        inner = points @ self.anchors.T
        return np.asarray(self.quadratic.at(points) + (inner * inner * inner) @ self.weights)

    def gradient(self, point: Floats) -> Floats:
        """Slope [N] at one mixture [N]."""
        cubic = 3 * self.weights * (self.anchors @ point) ** 2
        return np.asarray(self.quadratic.gradient(point) + cubic @ self.anchors)


def products(first: Floats, second: Floats, third: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Σ_r c_r (uᵀx)(vᵀx)(wᵀx) as cubes: anchors [4R, N] and weights [4R] from u, v, w [R, N] and c [R]."""
    # 24 uvw = (u+v+w)³ − (u+v−w)³ − (u−v+w)³ + (u−v−w)³.
    u, v, w = first, second, third
    anchors = np.vstack([u + v + w, u + v - w, u - v + w, u - v - w])
    return anchors, np.concatenate([weights, -weights, -weights, weights]) / 24


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
    def landscape(self) -> Cubic:
        """The same over mixtures, α = λ."""
        gradient, hessian = np.asarray(self.gradient, float), np.asarray(self.hessian, float)
        quadratic = Quadratic(float(self.value), gradient, (hessian + hessian.T) / 4)
        return Cubic(quadratic, np.empty((0, len(gradient))), np.empty(0))

    def at(self, points: Floats) -> Floats:
        """Losses expected [M] of mixtures [M, N]."""
        return self.landscape.at(points)
