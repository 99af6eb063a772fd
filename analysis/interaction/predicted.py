"""The residual Δ(λ) = θ*(λ) − θ̃(λ) predicted: to second order, at any horizon, from pairs of datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, norms
from m2m.errors import InputError, MixtureError
from m2m.mixture import Mixture
from m2m.training import TrainRecipe


@dataclass(frozen=True)
class StepSizes:
    """The learning rates η₀, η₁, … of T gradient steps.

    Attributes:
        rates: One a step. [T]
    """

    rates: tuple[float, ...]

    @classmethod
    def constant(cls, rate: float, steps: int) -> StepSizes:
        """Take T equal steps of one rate η."""
        return cls((rate,) * steps)

    @classmethod
    def of(cls, recipe: TrainRecipe) -> StepSizes:
        """Read an expert's step sizes from its recipe, schedule and warm-up included."""
        return cls(tuple(recipe.learning_rate_at(step, recipe.steps) for step in range(recipe.steps)))

    @property
    def total(self) -> float:
        """How far gradient flow would have gone: Σ_t η_t, ηT for equal steps."""
        return sum(self.rates)

    @property
    def coefficient(self) -> float:
        """Exact second-order coefficient of gradient descent: Σ_{s<t} η_s η_t, for equal steps η²T(T−1)/2."""
        return sum(rate * sum(self.rates[:step]) for step, rate in enumerate(self.rates))

    @property
    def printed_coefficient(self) -> float:
        """The coefficient printed in MergeMix (arXiv 2601.17858, eq. 8): (ηT)²/2, that of gradient flow."""
        return self.total**2 / 2


def outside_theory(recipe: TrainRecipe) -> list[str]:
    """Return why a recipe is not plain gradient descent at equal steps; minibatches are not counted."""
    reasons = {
        f"the optimizer is {recipe.optimizer}": recipe.optimizer != "sgd",
        f"momentum is {recipe.momentum:g}": recipe.momentum != 0,
        f"gradients are clipped at {recipe.clip_norm}": recipe.clip_norm is not None,
        f"weight decay is {recipe.weight_decay:g}": recipe.weight_decay != 0,
        "mixtures train longer than experts (pooled horizon)": recipe.horizon == "pooled",
        "examples are drawn in proportion to dataset sizes": recipe.sampling == "proportional",
    }
    return [reason for reason, holds in reasons.items() if holds]


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
        """Average the gradients: ḡ = Σ_k λ_k g_k. [P]."""
        return self._row(weights) @ self.gradients

    def covariance(self, weights: Sequence[float]) -> Tensor:
        """Give C_λ, the covariance of Hessian and gradient over the datasets. [P]."""
        return pair_sum(self.pairs, self._row(weights))

    def self_scaling(self, weights: Sequence[float]) -> Tensor:
        """Give Σ_k (λ_k² − λ_k) H_k g_k: each domain saturates along its own curved directions. [P]."""
        row = self._row(weights)
        return (row**2 - row) @ self.own

    def interference(self, weights: Sequence[float]) -> Tensor:
        """Give Σ_{k≠j} λ_k λ_j H_k g_j = −C_λ − self scaling: directions bent by others' curvature. [P]."""
        return -self.covariance(weights) - self.self_scaling(weights)

    def residual(self, weights: Sequence[float], steps: StepSizes, *, printed: bool = False) -> Tensor:
        """Predict Δ(λ) of gradient descent, with the exact coefficient or the printed (ηT)²/2. [P]."""
        return -(steps.printed_coefficient if printed else steps.coefficient) * self.covariance(weights)

    def rho(self, weights: Sequence[float], steps: StepSizes) -> float:
        """Predict ‖Δ‖ / ‖θ*(λ) − θ₀‖: ρ₂(λ) = ηT ‖C_λ‖ / (2‖ḡ‖), infinite where only ḡ vanishes."""
        bent, mean = norms(torch.stack([self.covariance(weights), self.mean_gradient(weights)])).tolist()
        return steps.total * bent / (2 * mean) if mean else (float("inf") if bent else 0.0)

    def _row(self, weights: Sequence[float]) -> Tensor:
        if len(weights) != len(self.datasets):
            raise MixtureError(f"got {len(weights)} weights for the datasets {list(self.datasets)}")
        return torch.tensor(weights, dtype=self.gradients.dtype, device=self.gradients.device)


def second_order(surface: LossSurface, datasets: Sequence[str] | None = None) -> SecondOrder:
    """Measure all N² products H_k g_j, and keep what the residual needs of them.

    Args:
        surface: The losses.
        datasets: Names of the datasets, in order; None: all of the set-up's.

    Returns:
        The second-order terms; N(N−1)/2 + 2N vectors of P numbers.
    """
    names = tuple(datasets if datasets is not None else surface.setup.datasets)
    data = [surface.setup.datasets[name] for name in names]
    surface.check_deterministic(data[0])
    gradients = torch.stack([surface.gradient(examples) for examples in data])
    number = {pair: i for i, pair in enumerate(combinations(range(len(names)), 2))}
    own, pairs = torch.zeros_like(gradients), surface.zeros(len(number))
    for k, examples in enumerate(data):
        products = surface.products(examples, gradients)
        own[k] = products[k]
        for j in range(len(data)):
            if j != k:  # H_k stands in the pair (k, j) with g_k − g_j
                pairs[number[min(k, j), max(k, j)]] += products[k] - products[j]
    return SecondOrder(names, gradients, own, pairs)


def pair_sum(pairs: Tensor, weights: Tensor) -> Tensor:
    """Sum a vector a pair [N(N−1)/2, P] as a mixture λ [N] meets the pairs: Σ_{k<j} λ_k λ_j v_kj. [P]."""
    both = [weights[k] * weights[j] for k, j in combinations(range(len(weights)), 2)]
    return torch.stack(both) @ pairs if both else pairs.new_zeros(pairs.shape[1])


def residual_of_quadratics(
    surface: LossSurface, terms: SecondOrder, mixture: Mixture, steps: StepSizes
) -> Tensor:
    """Predict Δ(λ) with every order of ηH, but none of the losses' third derivatives.

    Follows x ← x − η(g + Hx) for each member and for the mixture. In closed form, for equal steps, it ends at
    −P_T(H)g with P_T(H) = H⁻¹(I − (I − ηH)^T). What it misses of a measured residual is not quadratic; what
    `SecondOrder.residual` misses beyond that is the horizon. Costs 2nT Hessian-vector products, n members.

    Args:
        surface: The losses.
        terms: Second-order terms of all the mixture's datasets.
        mixture: The mixture λ.
        steps: The learning rates.

    Returns:
        Δ(λ) of the losses' quadratic models. [P]
    """
    shares = {name: w for name, w in mixture.shares.items() if w > 0}
    gradients = dict(zip(terms.datasets, terms.gradients, strict=True))
    merged = surface.zeros()
    for name, share in shares.items():
        merged += share * _follow(surface, {name: 1.0}, gradients, steps)
    return _follow(surface, shares, gradients, steps) - merged


def _follow(
    surface: LossSurface, shares: dict[str, float], gradients: dict[str, Tensor], steps: StepSizes
) -> Tensor:
    x = surface.zeros()
    for rate in steps.rates:
        slope = surface.zeros()
        for name, share in shares.items():
            bent = surface.products(surface.setup.datasets[name], x[None])[0]
            slope += share * (gradients[name] + bent)
        x -= rate * slope
    return x


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
