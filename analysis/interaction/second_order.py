"""The residual Δ(λ) = θ*(λ) − θ̃(λ) to second order, for every mixture at once, from N² products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from analysis.curvature.landscape import Landscape, norms
from analysis.interaction.step_sizes import StepSizes
from m2m.errors import MixtureError


@dataclass(frozen=True)
class SecondOrder:
    """Gradients g and Hessians H of N datasets' losses at θ₀, as far as the residual needs them.

    The residual of T steps of gradient descent is Δ(λ) = −Σ_{s<t}η_sη_t · C_λ + third order, with
    C_λ = Σ_k λ_k (H_k − H̄)(g_k − ḡ) = Σ_{k<j} λ_k λ_j (H_k − H_j)(g_k − g_j): it vanishes where all Hessians
    or all gradients agree. MergeMix (arXiv 2601.17858, eq. 8) prints the same as the sum of two terms, which
    `self_scaling` and `interference` give.

    Attributes:
        datasets: The datasets' names. [N]
        gradients: g_k. [N, P]
        own: H_k g_k. [N, P]
        pairs: (H_k − H_j)(g_k − g_j) for k < j, in the order of `itertools.combinations`. [N(N−1)/2, P]
    """

    datasets: tuple[str, ...]
    gradients: Tensor
    own: Tensor
    pairs: Tensor

    def mean_gradient(self, weights: Sequence[float]) -> Tensor:
        """Average the gradients.

        Args:
            weights: The mixture λ. [N]

        Returns:
            ḡ = Σ_k λ_k g_k. [P]
        """
        return self._row(weights) @ self.gradients

    def covariance(self, weights: Sequence[float]) -> Tensor:
        """Give the covariance of Hessian and gradient over the datasets.

        Args:
            weights: The mixture λ. [N]

        Returns:
            C_λ. [P]
        """
        return pair_sum(self.pairs, self._row(weights))

    def self_scaling(self, weights: Sequence[float]) -> Tensor:
        """Give the printed form's first part: each domain saturates along its own curved directions.

        Args:
            weights: The mixture λ. [N]

        Returns:
            Σ_k (λ_k² − λ_k) H_k g_k. [P]
        """
        row = self._row(weights)
        return (row**2 - row) @ self.own

    def interference(self, weights: Sequence[float]) -> Tensor:
        """Give the printed form's second part: one domain's direction bent by another's curvature.

        Args:
            weights: The mixture λ. [N]

        Returns:
            Σ_{k≠j} λ_k λ_j H_k g_j = −C_λ − self scaling. [P]
        """
        return -self.covariance(weights) - self.self_scaling(weights)

    def residual(self, weights: Sequence[float], steps: StepSizes, *, printed: bool = False) -> Tensor:
        """Predict the residual of full-batch gradient descent.

        Args:
            weights: The mixture λ. [N]
            steps: The learning rates.
            printed: Whether to take the paper's coefficient (ηT)²/2 instead of the exact one.

        Returns:
            Δ(λ) to second order. [P]
        """
        return -(steps.printed_coefficient if printed else steps.coefficient) * self.covariance(weights)

    def rho(self, weights: Sequence[float], steps: StepSizes) -> float:
        """Predict the relative residual ‖Δ‖ / ‖θ*(λ) − θ₀‖ from curvature and gradients alone.

        Args:
            weights: The mixture λ. [N]
            steps: The learning rates.

        Returns:
            ρ₂(λ) = ηT ‖C_λ‖ / (2‖ḡ‖); infinite where ḡ vanishes and C_λ does not.
        """
        bent, mean = norms(torch.stack([self.covariance(weights), self.mean_gradient(weights)])).tolist()
        return steps.total * bent / (2 * mean) if mean else (float("inf") if bent else 0.0)

    def _row(self, weights: Sequence[float]) -> Tensor:
        if len(weights) != len(self.datasets):
            raise MixtureError(f"got {len(weights)} weights for the datasets {list(self.datasets)}")
        return torch.tensor(weights, dtype=self.gradients.dtype, device=self.gradients.device)


def second_order(landscape: Landscape, datasets: Sequence[str] | None = None) -> SecondOrder:
    """Measure all N² products H_k g_j, and keep what the residual needs of them.

    Args:
        landscape: The losses.
        datasets: Names of the datasets, in order; None: all of the set-up's.

    Returns:
        The second-order terms; N(N−1)/2 + 2N vectors of P numbers.
    """
    names = tuple(datasets if datasets is not None else landscape.setup.datasets)
    data = [landscape.setup.datasets[name] for name in names]
    landscape.check_deterministic(data[0])
    gradients = torch.stack([landscape.gradient(examples) for examples in data])
    number = {pair: i for i, pair in enumerate(combinations(range(len(names)), 2))}
    own, pairs = torch.zeros_like(gradients), landscape.zeros(len(number))
    for k, examples in enumerate(data):
        products = landscape.products(examples, gradients)
        own[k] = products[k]
        for j in range(len(data)):
            if j != k:  # H_k stands in the pair (k, j) with g_k − g_j
                pairs[number[min(k, j), max(k, j)]] += products[k] - products[j]
    return SecondOrder(names, gradients, own, pairs)


def pair_sum(pairs: Tensor, weights: Tensor) -> Tensor:
    """Sum a vector a pair of datasets, weighted as a mixture meets the pair.

    Args:
        pairs: v_kj for k < j, in the order of `itertools.combinations`. [N(N−1)/2, P]
        weights: The mixture λ. [N]

    Returns:
        Σ_{k<j} λ_k λ_j v_kj. [P]
    """
    both = [weights[k] * weights[j] for k, j in combinations(range(len(weights)), 2)]
    return torch.stack(both) @ pairs if both else pairs.new_zeros(pairs.shape[1])
