"""Upper bounds on the residual of gradient descent, and on the score error that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import fsum

import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, norms
from analysis.curvature.spectrum import extremes, spectral_norm
from analysis.interaction.predicted import SecondOrder, StepSizes, second_order
from m2m.mixture import Mixture
from m2m.setups.protocol import Examples

#: Shares of a displacement at which the remainder is looked at.
_SHARES = (0.5, 1.0)
#: Relative accuracy asked of eigenvalues; their residuals are added to every bound.
_TOLERANCE = 1e-3


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

    def growth(self, rate: float) -> float:
        """Bound one step's stretching, ‖I − ηH‖₂, at the rate η."""
        return max(abs(1 - rate * self.lowest), abs(1 - rate * self.highest))


@dataclass(frozen=True)
class Majorant:
    """Bounds after the last step of x ← x − η(g + Hx + r(x)), ‖r(x)‖ ≤ ½ρ‖x‖².

    Attributes:
        travel: Of ‖x‖.
        first: Of ‖x + Σηg‖, the distance to the first-order expansion.
        second: Of ‖x + Σηg − cHg‖ with c = Σ_{s<t}η_sη_t, the distance to the second-order expansion.
    """

    travel: float
    first: float
    second: float


def majorant(shape: LocalShape, steps: StepSizes) -> Majorant:
    """Follow the three distances step by step; each line is the triangle inequality.

    With S_t = Σ_{s<t}η_s, c_t = Σ_{s<t}η_sS_s, y = x + Sg and z = x + Sg − cHg, one step gives
    y' = (I − ηH)y + ηS·Hg − ηr and z' = (I − ηH)z − ηc·H²g − ηr.

    Args:
        shape: The loss at θ₀.
        steps: The learning rates.

    Returns:
        The bounds; infinite where the recursion leaves the range of floats.
    """
    travel = first = second = total = coefficient = 0.0
    for rate in steps.rates:
        growth = shape.growth(rate)
        bend = rate * shape.lipschitz / 2 * travel * travel
        next_travel = growth * travel + rate * shape.gradient + bend
        first = growth * first + rate * total * shape.bent + bend
        second = growth * second + rate * coefficient * shape.bent_twice + bend
        coefficient += rate * total
        total += rate
        first = min(first, second + coefficient * shape.bent)
        travel = min(next_travel, total * shape.gradient + first)
    return Majorant(travel, first, second)


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
    """

    mixture: Mixture
    weights: tuple[float, ...]
    terms: SecondOrder
    experts: tuple[LocalShape, ...]
    pooled: LocalShape
    spread: float

    def with_lipschitz(self, constants: Sequence[float]) -> Ingredients:
        """Set ρ of each member's loss [n] (0 for quadratics); the mixture's is their average."""
        experts = tuple(
            replace(shape, lipschitz=rho) for shape, rho in zip(self.experts, constants, strict=True)
        )
        mean = fsum(w * rho for w, rho in zip(self.weights, constants, strict=True))
        return replace(self, experts=experts, pooled=replace(self.pooled, lipschitz=mean))


@dataclass(frozen=True)
class Bound:
    """Upper bounds on ‖Δ(λ)‖; the third-order part is as sure as the constants ρ are.

    Attributes:
        leading: c‖C_λ‖, the second-order residual itself, c = Σ_{s<t}η_sη_t.
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
        surface: The losses.
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
    )


def bound(found: Ingredients, steps: StepSizes) -> Bound:
    """Bound the residual of full-batch gradient descent.

    Args:
        found: The mixture's ingredients, with the constants ρ of its members.
        steps: The learning rates.

    Returns:
        The bounds on ‖Δ(λ)‖.
    """
    covariance = norms(found.terms.covariance(found.weights)[None]).item()
    rests = [
        weight * majorant(e, steps).second for weight, e in zip(found.weights, found.experts, strict=True)
    ]
    return Bound(
        leading=steps.coefficient * covariance,
        spread=steps.coefficient * found.spread,
        remainder=majorant(found.pooled, steps).second + sum(rests),
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
