"""Bounds on the residual of gradient descent, and on the score error that follows from it.

They are proven given what they are made of. Of that, ρ is estimated from a few places (`lipschitz`), so that
for losses that are not quadratic what comes out is an estimated bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import fsum

import numpy as np
import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, norms
from analysis.curvature.spectrum import extremes, spectral_norm
from analysis.interaction.optimizers import UpdateRule
from analysis.interaction.predicted import SecondOrder, second_order
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.setups.protocol import Examples

#: Shares of a displacement at which the remainder is looked at.
_SHARES = (0.5, 1.0)
#: Relative accuracy asked of eigenvalues; their residuals are added to every bound.
_TOLERANCE = 1e-3
#: What a recipe without a bound can be asked, to be said with the refusal.
INSTEAD = (
    "m2m-analysis interaction predicts its residual without a bound, m2m-analysis trust limits the regret of "
    "a choice from a few trained mixtures"
)


@dataclass(frozen=True)
class LocalShape:
    """What a bound needs to know of one loss at θ₀.

    Attributes:
        gradient: ‖g‖.
        bent: ‖Hg‖.
        bent_twice: ‖H²g‖.
        lowest: A lower bound of H's eigenvalues.
        highest: An upper bound of H's eigenvalues.
        lipschitz: ρ with ‖∇L(θ₀ + x) − g − Hx‖ ≤ ½ρ‖x‖² on the way.
    """

    gradient: float
    bent: float
    bent_twice: float
    lowest: float
    highest: float
    lipschitz: float

    @property
    def sharpness(self) -> float:
        """Bound ‖H‖₂."""
        return max(abs(self.lowest), abs(self.highest))

    def growth(self, rate: float) -> float:
        """Bound one step's stretching, ‖I − ηH‖₂, at the rate η."""
        return max(abs(1 - rate * self.lowest), abs(1 - rate * self.highest))


@dataclass(frozen=True)
class Majorant:
    """Bounds after the last step of x ← x − η Σ_j κ_j (g + Hx_j + r(x_j)), ‖r(x)‖ ≤ ½ρ‖x‖².

    Attributes:
        travel: Of ‖x‖.
        first: Of ‖x + Ag‖, the distance to the first-order expansion.
        second: Of ‖x + Ag − cHg‖, the distance to the second-order expansion; A and c as in `Coefficients`.
    """

    travel: float
    first: float
    second: float


def majorant(shape: LocalShape, rule: UpdateRule) -> Majorant:
    """Follow the three distances step by step; each line is the triangle inequality.

    With y = x + Ag and z = x + Ag − cHg a step of gradient descent gives y' = (I − ηH)y + ηA·Hg − ηr and
    z' = (I − ηH)z − ηc·H²g − ηr. Momentum adds the same of all earlier places, by the kernel: only the newest
    is taken together with the place that the step starts from.

    Args:
        shape: The loss at θ₀, with the rule's L2 decay in it.
        rule: The optimiser.

    Returns:
        The bounds; infinite where the recursion leaves the range of floats.

    Raises:
        ConfigError: If the rule has a metric of its own or decoupled weight decay.
    """  # noqa: DOC502 - raised by what is called
    check_bounded(rule)
    horizon, table = len(rule.rates), rule.coefficients
    travel, first, second = (np.zeros(horizon + 1) for _ in range(3))
    for step in range(horizon):
        if not np.isfinite([travel[step], first[step], second[step]]).all():
            return Majorant(np.inf, np.inf, np.inf)
        so_far = slice(step + 1)
        row = rule.rates[step] * rule.kernel[step, so_far]
        growth, echo = shape.growth(row[-1]), shape.sharpness * row[:-1]
        with np.errstate(over="ignore"):
            bend = shape.lipschitz / 2 * row @ travel[so_far] ** 2
            ends = [growth * x[step] + echo @ x[:step] + bend for x in (travel, first, second)]
            moved = ends[0] + row.sum() * shape.gradient
            turned = ends[1] + row @ table.gradient[so_far] * shape.bent
            second[step + 1] = ends[2] + row @ table.curvature[so_far] * shape.bent_twice
            first[step + 1] = min(turned, second[step + 1] + table.curvature[step + 1] * shape.bent)
            travel[step + 1] = min(moved, table.gradient[step + 1] * shape.gradient + first[step + 1])
    return Majorant(float(travel[-1]), float(first[-1]), float(second[-1]))


def check_bounded(rule: UpdateRule) -> None:
    """Refuse a rule that the majorants are not about."""
    if rule.adaptive:
        raise ConfigError(
            "no bound under AdamW: its metric 1/(√v̂ + ε) follows the gradients and jumps with their sign; "
            f"{INSTEAD}"
        )
    if rule.decay:
        raise ConfigError(
            f"no bound with decoupled weight decay, got {rule.decay:g}: L2 decay has one; {INSTEAD}"
        )


def lipschitz(surface: LossSurface, examples: Examples, points: Sequence[Tensor]) -> float:
    """Estimate ρ in ‖∇L(θ₀ + x) − g − Hx‖ ≤ ½ρ‖x‖² from points on the way.

    The largest quotient over each point and its half: exact for a quadratic (0 up to rounding), an estimate
    from below of the constant of the whole ball otherwise.

    Args:
        surface: The losses.
        examples: What the loss is averaged over.
        points: Displacements, say experts' and merged models'; one of zero says nothing. each [P]

    Returns:
        ρ, in nat a cubed unit of weight.
    """
    stacked = torch.stack(list(points))
    gradient, products = surface.gradient(examples), surface.products(examples, stacked)
    quotients: list[float] = []
    for share in _SHARES:
        for point, product in zip(stacked, products, strict=True):
            rest = surface.gradient(examples, at=share * point) - gradient - share * product
            remainder, length = norms(torch.stack([rest, share * point])).tolist()
            if length:
                quotients.append(2 * remainder / (length * length))
    return max(quotients, default=0.0)


@dataclass(frozen=True)
class Ingredients:
    """What the bound of one mixture is made of, whatever the step sizes.

    Attributes:
        mixture: The mixture λ.
        weights: Its weights above zero. [n]
        terms: Second-order terms of its members.
        experts: Shape of each member's loss. [n]
        pooled: Shape of the mixture's loss.
        spread: Σ_{k<j} λ_kλ_j ‖H_k − H_j‖₂ ‖g_k − g_j‖, at least ‖C_λ‖.
        l2: The L2 decay that is in all of them.
    """

    mixture: Mixture
    weights: tuple[float, ...]
    terms: SecondOrder
    experts: tuple[LocalShape, ...]
    pooled: LocalShape
    spread: float
    l2: float

    def with_lipschitz(self, constants: Sequence[float]) -> Ingredients:
        """Set ρ of each member's loss [n] (0 for quadratics); the mixture's is their average."""
        experts = tuple(
            replace(shape, lipschitz=rho) for shape, rho in zip(self.experts, constants, strict=True)
        )
        mean = fsum(w * rho for w, rho in zip(self.weights, constants, strict=True))
        return replace(self, experts=experts, pooled=replace(self.pooled, lipschitz=mean))


@dataclass(frozen=True)
class Bound:
    """Estimated bounds on ‖Δ(λ)‖: proven if the constants ρ are, as for quadratic losses.

    Attributes:
        leading: c‖C_λ‖, the second-order residual itself, c = `UpdateRule.coefficient`.
        spread: c Σ_{k<j} λ_kλ_j‖H_k − H_j‖‖g_k − g_j‖: the leading part from spreads alone.
        remainder: Third and higher orders, of the mixture and of all experts.
    """

    leading: float
    spread: float
    remainder: float

    @property
    def total(self) -> float:
        """The bound: leading + remainder."""
        return self.leading + self.remainder

    @property
    def total_by_spread(self) -> float:
        """The coarser bound that needs norms only: spread + remainder."""
        return self.spread + self.remainder


def ingredients(surface: LossSurface, mixture: Mixture, *, seed: int = 0) -> Ingredients:
    """Measure a mixture's gradients, curvature and spreads at the base.

    Args:
        surface: The losses, with the L2 decay that training has.
        mixture: The mixture; datasets of weight zero are left out.
        seed: Seed of the Lanczos starting vectors.

    Returns:
        The ingredients, with no third-order remainder yet (ρ = 0).
    """
    names = mixture.members
    weights = tuple(weight for weight in mixture.weights if weight > 0)
    data = [surface.setup.datasets[name] for name in names]
    terms = second_order(surface, names)
    experts = tuple(
        _shape(surface, examples, g, bent, seed)
        for examples, g, bent in zip(data, terms.gradients, terms.own, strict=True)
    )
    return Ingredients(
        mixture=mixture,
        weights=weights,
        terms=terms,
        experts=experts,
        pooled=_pooled(surface, data, weights, terms, experts),
        spread=_spread(surface, data, weights, terms.gradients, seed),
        l2=surface.l2,
    )


def bound(found: Ingredients, rule: UpdateRule) -> Bound:
    """Bound the residual of full-batch gradient descent, with momentum or L2 decay or without.

    Args:
        found: The mixture's ingredients, with the constants ρ of its members and the rule's L2 decay.
        rule: The optimiser.

    Returns:
        The bounds on ‖Δ(λ)‖.

    Raises:
        ConfigError: If the ingredients have another L2 decay, or as `majorant`.
    """
    if found.l2 != rule.l2:
        raise ConfigError(f"the bound's ingredients have L2 decay {found.l2:g}, the optimiser {rule.l2:g}")
    covariance = norms(found.terms.covariance(found.weights)[None]).item()
    rests = [
        weight * majorant(e, rule).second for weight, e in zip(found.weights, found.experts, strict=True)
    ]
    return Bound(
        leading=rule.coefficient * covariance,
        spread=rule.coefficient * found.spread,
        remainder=majorant(found.pooled, rule).second + sum(rests),
    )


def _shape(surface: LossSurface, examples: Examples, g: Tensor, bent: Tensor, seed: int) -> LocalShape:
    twice = surface.products(examples, bent[None])[0]
    gradient, once, again = norms(torch.stack([g, bent, twice])).tolist()
    ends = extremes(lambda v: surface.products(examples, v), g, 2, tolerance=_TOLERANCE, seed=seed)
    lowest, highest = (ends.eigenvalues + ends.residuals * (-1, 1)).tolist()
    return LocalShape(gradient, once, again, lowest, highest, lipschitz=0.0)


def _pooled(
    surface: LossSurface,
    data: Sequence[Examples],
    weights: Sequence[float],
    terms: SecondOrder,
    experts: Sequence[LocalShape],
) -> LocalShape:
    def multiply(vector: Tensor) -> Tensor:
        parts = (w * surface.products(d, vector[None])[0] for w, d in zip(weights, data, strict=True))
        return torch.stack(list(parts)).sum(0)

    mean = terms.mean_gradient(weights)
    bent = multiply(mean)
    gradient, once, twice = norms(torch.stack([mean, bent, multiply(bent)])).tolist()
    pairs = list(zip(weights, experts, strict=True))  # eigenvalues of a sum lie within the sums (Weyl)
    lowest, highest = (fsum(w * getattr(e, end) for w, e in pairs) for end in ("lowest", "highest"))
    return LocalShape(gradient, once, twice, lowest, highest, lipschitz=0.0)


def _spread(
    surface: LossSurface, data: Sequence[Examples], weights: Sequence[float], gradients: Tensor, seed: int
) -> float:
    def apart(k: int, j: int) -> float:
        difference = spectral_norm(
            lambda v: surface.products(data[k], v) - surface.products(data[j], v),
            gradients[k],
            tolerance=_TOLERANCE,
            seed=seed,
        )
        return difference * norms((gradients[k] - gradients[j])[None]).item()

    return fsum(weights[k] * weights[j] * apart(k, j) for k, j in combinations(range(len(data)), 2))


@dataclass(frozen=True)
class ScoreShape:
    """A target's loss at one place.

    Attributes:
        loss: L, nat.
        gradient: ‖∇L‖.
        curvature: ‖∇²L‖₂ at most.
        lipschitz: ρ of its Hessian, as seen between the base and the place; 0 at the base.
    """

    loss: float
    gradient: float
    curvature: float
    lipschitz: float

    def moved(self, surface: LossSurface, examples: Examples, merged: Tensor) -> ScoreShape:
        """Go from the base to a merged model [P]; its curvature is the base's and how far that can change."""
        rho = lipschitz(surface, examples, [merged])
        slope, length = norms(torch.stack([surface.gradient(examples, at=merged), merged])).tolist()
        return ScoreShape(
            surface.value(examples, at=merged), slope, self.curvature + rho * length, lipschitz=rho
        )


def base_shape(surface: LossSurface, examples: Examples, *, seed: int = 0) -> ScoreShape:
    """Measure a target's loss, slope and curvature at the base."""
    gradient = surface.gradient(examples)
    return ScoreShape(
        loss=surface.value(examples),
        gradient=norms(gradient[None]).item(),
        curvature=spectral_norm(lambda v: surface.products(examples, v), gradient, tolerance=1e-3, seed=seed),
        lipschitz=0.0,
    )


def score_bound(shape: ScoreShape, residual: float) -> float:
    """Bound the score error of a merged model: |L(θ*) − L(θ̃)| for ‖Δ‖ ≤ B (Taylor, with Lipschitz Hessian).

    Args:
        shape: The target's loss at the merged model.
        residual: B, a bound on ‖Δ‖.

    Returns:
        ‖∇L‖B + ½‖∇²L‖B² + ρB³/6, nat.
    """
    b = residual
    return shape.gradient * b + shape.curvature * b * b / 2 + shape.lipschitz * b * b * b / 6
