"""The residual Δ(λ) = θ*(λ) − θ̃(λ) predicted: to second order, at any horizon, from pairs of datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, norms
from analysis.interaction.expansion import hessian_of
from analysis.interaction.optimizers import UpdateRule, follow
from m2m.errors import InputError, MixtureError
from m2m.mixture import Mixture


@dataclass(frozen=True)
class SecondOrder:
    """Gradients g and Hessians H of N datasets' losses at θ₀, as far as the residual needs them.

    The residual of T steps with one metric D for all runs is Δ(λ) = −c C_λ + third order, with
    C_λ = D Σ_k λ_k (H_k − H̄) D (g_k − ḡ) = Σ_{k<j} λ_k λ_j D (H_k − H_j) D (g_k − g_j): it vanishes where
    all Hessians or all gradients agree. D = I is gradient descent, with momentum or without; c is
    `UpdateRule.coefficient`. Weight decay moves nothing else to this order. MergeMix (arXiv 2601.17858, eq.
    8) prints the same for gradient descent as two terms, which `self_scaling` and `interference` give.

    Attributes:
        datasets: The datasets' names. [N]
        gradients: g_k. [N, P]
        own: D H_k D g_k. [N, P]
        pairs: D (H_k − H_j) D (g_k − g_j) for k < j, as `itertools.combinations` has it. [N(N−1)/2, P]
        metric: D; None: the identity. [P]
    """

    datasets: tuple[str, ...]
    gradients: Tensor
    own: Tensor
    pairs: Tensor
    metric: Tensor | None = None

    def mean_gradient(self, weights: Sequence[float]) -> Tensor:
        """Average the gradients: ḡ = Σ_k λ_k g_k. [P]."""
        return self._row(weights) @ self.gradients

    def covariance(self, weights: Sequence[float]) -> Tensor:
        """Give C_λ, the covariance of Hessian and gradient over the datasets. [P]."""
        return pair_sum(self.pairs, self._row(weights))

    def self_scaling(self, weights: Sequence[float]) -> Tensor:
        """Give Σ_k (λ_k² − λ_k) DH_kDg_k: each domain saturates along its own curved directions. [P]."""
        row = self._row(weights)
        return (row**2 - row) @ self.own

    def interference(self, weights: Sequence[float]) -> Tensor:
        """Give Σ_{k≠j} λ_k λ_j DH_kDg_j = −C_λ − self scaling: directions bent by others' curvature. [P]."""
        return -self.covariance(weights) - self.self_scaling(weights)

    def residual(self, weights: Sequence[float], rule: UpdateRule, *, printed: bool = False) -> Tensor:
        """Predict Δ(λ) in the metric D, with the exact coefficient or the printed (ηT)²/2. [P]."""
        return -(rule.printed_coefficient if printed else rule.coefficient) * self.covariance(weights)

    def rho(self, weights: Sequence[float], rule: UpdateRule) -> float:
        """Predict ‖Δ‖ / ‖θ*(λ) − θ₀‖: ρ₂(λ) = c‖C_λ‖ / (A‖Dḡ‖), infinite where only ḡ vanishes."""
        mean = self.mean_gradient(weights)
        scaled = mean if self.metric is None else self.metric * mean
        bent, straight = norms(torch.stack([self.covariance(weights), scaled])).tolist()
        if not straight:
            return float("inf") if bent else 0.0
        return float(rule.coefficient * bent / (rule.total * straight))

    def _row(self, weights: Sequence[float]) -> Tensor:
        if len(weights) != len(self.datasets):
            raise MixtureError(f"got {len(weights)} weights for the datasets {list(self.datasets)}")
        return torch.tensor(weights, dtype=self.gradients.dtype, device=self.gradients.device)


def second_order(
    surface: LossSurface,
    datasets: Sequence[str] | None = None,
    metric: Tensor | None = None,
    gradients: Tensor | None = None,
) -> SecondOrder:
    """Measure all N² products D H_k D g_j, and keep what the residual needs of them.

    Args:
        surface: The losses.
        datasets: Names of the datasets, in order; None: all of the set-up's.
        metric: D, the same for all runs; None: the identity. [P]
        gradients: g_k, say of more examples than the surface's; None: of the surface's own. [N, P]

    Returns:
        The second-order terms; N(N−1)/2 + 2N vectors of P numbers.
    """
    names = tuple(datasets if datasets is not None else surface.setup.datasets)
    data = [surface.setup.datasets[name] for name in names]
    surface.check_deterministic(data[0])
    if gradients is None:
        gradients = torch.stack([surface.gradient(examples) for examples in data])

    def scaled(rows: Tensor) -> Tensor:
        return rows if metric is None else metric * rows

    number = {pair: i for i, pair in enumerate(combinations(range(len(names)), 2))}
    own, pairs = torch.zeros_like(gradients), surface.zeros(len(number))
    for k, examples in enumerate(data):
        products = scaled(surface.products(examples, scaled(gradients)))
        own[k] = products[k]
        for j in range(len(data)):
            if j != k:  # H_k stands in the pair (k, j) with g_k − g_j
                pairs[number[min(k, j), max(k, j)]] += products[k] - products[j]
    return SecondOrder(names, gradients, own, pairs, metric)


def pair_sum(pairs: Tensor, weights: Tensor) -> Tensor:
    """Sum a vector a pair [N(N−1)/2, P] as a mixture λ [N] meets the pairs: Σ_{k<j} λ_k λ_j v_kj. [P]."""
    both = [weights[k] * weights[j] for k, j in combinations(range(len(weights)), 2)]
    return torch.stack(both) @ pairs if both else pairs.new_zeros(pairs.shape[1])


def residual_of_quadratics(
    surface: LossSurface, terms: SecondOrder, mixture: Mixture, rule: UpdateRule
) -> Tensor:
    """Predict Δ(λ) with every order of ηH, but none of the losses' third derivatives.

    Takes the optimiser's steps on each member's and the mixture's quadratic model, of gradient g + Hx. In
    closed form, for equal steps of gradient descent, that ends at −P_T(H)g with P_T(H) = H⁻¹(I − (I − ηH)^T).
    What it misses of a measured residual is not quadratic; what `SecondOrder.residual` misses beyond that is
    the horizon. Costs 2nT Hessian-vector products, n members.

    Args:
        surface: The losses.
        terms: Second-order terms of all the mixture's datasets; its metric is for a rule without its own.
        mixture: The mixture λ.
        rule: The optimiser.

    Returns:
        Δ(λ) of the losses' quadratic models. [P]
    """
    gradients = dict(zip(terms.datasets, terms.gradients, strict=True))

    def trained(shares: Mapping[str, float]) -> Tensor:
        slope = surface.zeros()
        for name, share in shares.items():
            slope += share * gradients[name]
        multiply = hessian_of(surface, shares)
        return follow(rule, lambda _, x: slope + multiply(x[None])[0], surface.origin, metric=terms.metric)

    residual = trained(mixture.shares)
    for name, share in mixture.shares.items():
        if share:
            residual -= share * trained({name: 1.0})
    return residual


@dataclass(frozen=True)
class ScheffeCorrection:
    """Δ(λ) as the quadratic Σ_{k<j} λ_k λ_j u_kj that is exact at all pair midpoints.

    H. Scheffé's {N, 2} lattice (J. R. Stat. Soc. B 20, 1958), in weight space.

    Attributes:
        pairs: u_kj for k < j, in the order of `itertools.combinations`. [N(N−1)/2, P]
    """

    pairs: Tensor

    def residual(self, weights: Sequence[float]) -> Tensor:
        """Give Σ_{k<j} λ_k λ_j u_kj, to be added to the merged model of the mixture λ. [P]."""
        return pair_sum(self.pairs, torch.tensor(weights, dtype=self.pairs.dtype))


def scheffe_correction(midpoints: Mapping[tuple[int, int], Tensor], count: int) -> ScheffeCorrection:
    """Fit the correction to the residuals of all pairs at (½, ½): u_kj = 4 Δ(½, ½).

    Args:
        midpoints: Measured residual θ*(½, ½) − ½(θ_k + θ_j) of each pair k < j. each [P]
        count: Number of datasets N.

    Returns:
        The correction.

    Raises:
        InputError: If a pair is missing.
    """
    wanted = list(combinations(range(count), 2))
    missing = [pair for pair in wanted if pair not in midpoints]
    if missing or not wanted:
        raise InputError(
            f"the correction needs the residual of every pair of datasets; missing {missing[:5]}"
        )
    return ScheffeCorrection(torch.stack([4 * midpoints[pair] for pair in wanted]))
