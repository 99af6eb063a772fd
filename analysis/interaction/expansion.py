"""Training runs and residuals expanded in the curvature, order by order, for any optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface
from analysis.interaction.optimizers import UpdateRule, follow
from m2m.mixture import Mixture

#: Multiplies a symmetric matrix by rows. [K, P]
Multiply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Expansion:
    """A displacement by orders of the curvature: where a run ends, or a residual.

    Attributes:
        first: With the gradient of θ₀ in every step. [P]
        second: What curvature adds along that way. [P]
    """

    first: Tensor
    second: Tensor

    @property
    def total(self) -> Tensor:
        """Both together. [P]."""
        return self.first + self.second


def expand(
    rule: UpdateRule,
    gradient: Tensor,
    multiply: Multiply,
    origin: Tensor,
    *,
    metric: Tensor | None = None,
    noise: Tensor | None = None,
) -> Expansion:
    """Expand a training run in the curvature, from the gradient and two Hessian-vector products at θ₀.

    The first order is the straight way −p_sθ₀ − A_sφ with φ = Dg. The second takes the gradients
    g + Hx along that way through the optimiser (Picard's iteration). For a frozen metric that is the
    closed form of `Coefficients`; for Adam, whose φ = g/(√(g² + noise) + ε), it agrees with the expansion in
    powers of η to second order, but stays bounded where an element's gradient is small and changes sign.

    Args:
        rule: The optimiser.
        gradient: g of the loss. [P]
        multiply: Multiplies rows by the loss's Hessian at θ₀.
        origin: θ₀. [P]
        metric: Frozen D; None: the identity. Not for a rule that has its own. [P]
        noise: What minibatches add to the gradient's expected square. [P]

    Returns:
        Both orders.
    """
    table, plain = rule.coefficients, replace(rule, l2=0.0)
    start = gradient + rule.l2 * origin
    direction = _direction(rule, start, metric, noise)
    first = -(table.gradient[-1] * direction + table.shrinkage[-1] * origin)
    way = torch.stack([direction, origin]) if rule.decay else direction[None]
    bent = multiply(way) + rule.l2 * way

    def along(step: int, _: Tensor) -> Tensor:
        slope = start - float(table.gradient[step]) * bent[0]
        return slope - float(table.shrinkage[step]) * bent[1] if rule.decay else slope

    second = follow(plain, along, origin, metric=metric, noise=noise) - first
    return Expansion(first, second)


def _direction(rule: UpdateRule, gradient: Tensor, metric: Tensor | None, noise: Tensor | None) -> Tensor:
    if rule.adaptive:
        return gradient * rule.metric(gradient, noise)
    return gradient if metric is None else metric * gradient


def hessian_of(surface: LossSurface, shares: Mapping[str, float]) -> Multiply:
    """Return what multiplies rows [K, P] by the Hessian at the base of Σ_k λ_k L_k."""

    def multiply(rows: Tensor) -> Tensor:
        total = torch.zeros_like(rows)
        for name, share in shares.items():
            if share:
                total += share * surface.products(surface.setup.datasets[name], rows)
        return total

    return multiply


class ResidualExpansion:
    """Residuals Δ(λ) of mixtures under one optimiser, expanded in the curvature, with a metric a run.

    Under Adam the mixture and its experts differ in their metric already at first order:
    Δ = −A[D_λ ḡ − Σ_k λ_k D_k g_k] + what curvature adds. Each expert is expanded once.

    Args:
        surface: The losses.
        datasets: The datasets' names. [N]
        gradients: Their gradients g_k at the base. [N, P]
        rule: The optimiser.
        noise: What minibatches of each dataset alone add to its gradient's square, σ_k²/B; None: full
            batches. [N, P]
    """

    def __init__(
        self,
        surface: LossSurface,
        datasets: Sequence[str],
        gradients: Tensor,
        rule: UpdateRule,
        noise: Tensor | None = None,
    ) -> None:
        self._surface, self._datasets, self._rule = surface, tuple(datasets), rule
        self._gradients, self._noise = gradients, noise
        self._experts: dict[str, Expansion] = {}

    def residual(self, mixture: Mixture) -> Expansion:
        """Expand Δ(λ) of a mixture; 2 products of each member's Hessian, and 2 more where it is new."""
        run = self.run(mixture.shares)
        first, second = run.first, run.second
        for name, share in mixture.shares.items():
            if share:
                expert = self._expert(name)
                first, second = first - share * expert.first, second - share * expert.second
        return Expansion(first, second)

    def _expert(self, name: str) -> Expansion:
        if name not in self._experts:
            self._experts[name] = self.run({name: 1.0})
        return self._experts[name]

    def run(self, shares: Mapping[str, float]) -> Expansion:
        """Expand where training on a mixture ends, given its shares by dataset."""
        # λ_kB examples of a batch in exact shares are dataset k's: its gradient's variance is Σ_kλ_kσ_k²/B.
        row, multiply = self._row(shares), hessian_of(self._surface, shares)
        noise = None if self._noise is None else row @ self._noise
        return expand(self._rule, row @ self._gradients, multiply, self._surface.origin, noise=noise)

    def _row(self, shares: Mapping[str, float]) -> Tensor:
        weights = [shares.get(name, 0.0) for name in self._datasets]
        return torch.tensor(weights, dtype=self._gradients.dtype)
