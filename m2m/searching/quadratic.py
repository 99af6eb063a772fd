"""A quadratic on the simplex: what a target's loss is, to second order, at the mean of experts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m2m.support.arrays import Floats


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
        """Evaluate.

        Args:
            points: A mixture a row. [M, N]

        Returns:
            The values. [M]
        """
        bent = np.einsum("mn,mn->m", points @ self.pairs, points)
        return np.asarray(self.constant + points @ self.linear + bent)

    def gradient(self, point: Floats) -> Floats:
        """Differentiate.

        Args:
            point: One mixture. [N]

        Returns:
            g + 2Qx. [N]
        """
        return np.asarray(self.linear + 2 * point @ self.pairs)
