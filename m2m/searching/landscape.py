"""A landscape on the simplex: a quadratic, and what goes beyond it to third order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m2m.searching.quadratic import Quadratic
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Landscape:
    """f(x) = quadratic(x) + Σ_r c_r (a_rᵀx)³: the mean of a belief, or a draw from it.

    Attributes:
        quadratic: The part up to second order.
        anchors: a. [R, N]
        weights: c. [R]
    """

    quadratic: Quadratic
    anchors: Floats
    weights: Floats

    def __neg__(self) -> Landscape:
        return Landscape(-self.quadratic, self.anchors, -self.weights)

    def __add__(self, other: Landscape) -> Landscape:
        return Landscape(
            self.quadratic + other.quadratic,
            np.vstack([self.anchors, other.anchors]),
            np.concatenate([self.weights, other.weights]),
        )

    def at(self, points: Floats) -> Floats:
        """Evaluate.

        Args:
            points: A mixture a row. [M, N]

        Returns:
            The values. [M]
        """
        inner = points @ self.anchors.T
        return np.asarray(self.quadratic.at(points) + (inner * inner * inner) @ self.weights)

    def gradient(self, point: Floats) -> Floats:
        """Differentiate.

        Args:
            point: One mixture. [N]

        Returns:
            The slope. [N]
        """
        cubic = 3 * self.weights * (self.anchors @ point) ** 2
        return np.asarray(self.quadratic.gradient(point) + cubic @ self.anchors)


def products(first: Floats, second: Floats, third: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Write products of three linear forms as cubes: 24 uvw = (u+v+w)³ − (u+v−w)³ − (u−v+w)³ + (u−v−w)³.

    Args:
        first: u. [R, N]
        second: v. [R, N]
        third: w. [R, N]
        weights: c, of the R products. [R]

    Returns:
        Anchors [4R, N] and weights [4R] of Σ_r c_r (uᵀx)(vᵀx)(wᵀx).
    """
    u, v, w = first, second, third
    anchors = np.vstack([u + v + w, u + v - w, u - v + w, u - v - w])
    return anchors, np.concatenate([weights, -weights, -weights, weights]) / 24
