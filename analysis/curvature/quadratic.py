"""The target's loss as a quadratic in the merging weights: all mixtures predicted from N products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from analysis.curvature.batch_products import Matrix
from analysis.curvature.landscape import Landscape, inner
from analysis.curvature.tables import asymmetry, symmetric
from m2m.errors import MixtureError
from m2m.setups.protocol import Examples
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class QuadraticModel:
    """L(θ₀ + Σ_n α_n τ_n) ≈ c + bᵀα + ½ αᵀAα: the loss at the base, its gradient and Hessian on span(τ).

    Attributes:
        constant: c, loss at the base, nat.
        slope: b_n = ∇Lᵀτ_n, nat. [N]
        curvature: A_ij = τ_iᵀ ∇²L τ_j, or with the Gauss-Newton matrix, nat. [N, N]
        asymmetry: max|A − Aᵀ| / max|A| before A was made symmetric: rounding.
    """

    constant: float
    slope: Floats
    curvature: Floats
    asymmetry: float = 0.0

    def predict(self, weights: ArrayLike) -> Floats:
        """Predict the merged models' losses.

        Args:
            weights: Merging weights, a row a candidate. [M, N]

        Returns:
            Loss of each merged model, nat. [M]

        Raises:
            MixtureError: If a row does not have N weights.
        """
        alpha = np.asarray(weights, dtype=np.float64)
        if alpha.ndim != 2 or alpha.shape[1] != len(self.slope):
            raise MixtureError(f"weights must be [M, {len(self.slope)}], got shape {list(alpha.shape)}")
        return np.asarray(
            self.constant
            + alpha @ self.slope
            + np.einsum("mi,ij,mj->m", alpha, self.curvature, alpha, optimize=True) / 2
        )


def quadratic_model(
    landscape: Landscape, examples: Examples, tasks: Tensor, *, matrix: Matrix = "hessian"
) -> QuadraticModel:
    """Expand a loss at the base along the task vectors: one gradient and N products.

    Args:
        landscape: The losses.
        examples: What the loss is averaged over, say a target's validation split.
        tasks: Task vectors, as rows. [N, P]
        matrix: What stands for the Hessian; `ggn` is the loss of the model that is linear in its parameters.

    Returns:
        The quadratic model.
    """
    landscape.check_deterministic(examples)
    bent = inner(tasks, landscape.products(examples, tasks, matrix=matrix)).numpy()
    slope = inner(landscape.gradient(examples)[None], tasks)[0].numpy()
    return QuadraticModel(landscape.value(examples), slope, symmetric(bent), asymmetry(bent))
