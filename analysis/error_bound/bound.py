"""Upper bounds on ‖Δ(λ)‖ of gradient descent from curvature and gradient spread at the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import fsum

import torch
from torch import Tensor

from analysis.curvature.landscape import Landscape, norms
from analysis.curvature.spectrum import extremes, spectral_norm
from analysis.error_bound.majorant import LocalShape, majorant
from analysis.interaction.second_order import SecondOrder, second_order
from analysis.interaction.step_sizes import StepSizes
from m2m.mixture import Mixture
from m2m.setups.protocol import Examples

#: Relative accuracy asked of eigenvalues; their residuals are added to every bound.
_TOLERANCE = 1e-3


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
        """Set the constants of the third-order remainder.

        Args:
            constants: ρ of each member's loss; 0 for quadratics. [n]

        Returns:
            The same ingredients with these constants; the mixture's is their average.
        """
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


def ingredients(landscape: Landscape, mixture: Mixture, *, seed: int = 0) -> Ingredients:
    """Measure a mixture's gradients, curvature and spreads at the base.

    Args:
        landscape: The losses.
        mixture: The mixture; datasets of weight zero are left out.
        seed: Seed of the Lanczos starting vectors.

    Returns:
        The ingredients, with no third-order remainder yet (ρ = 0).
    """
    names = mixture.members
    weights = tuple(weight for weight in mixture.weights if weight > 0)
    data = [landscape.setup.datasets[name] for name in names]
    terms = second_order(landscape, names)
    experts = tuple(
        _shape(landscape, examples, g, bent, seed)
        for examples, g, bent in zip(data, terms.gradients, terms.own, strict=True)
    )
    return Ingredients(
        mixture=mixture,
        weights=weights,
        terms=terms,
        experts=experts,
        pooled=_pooled(landscape, data, weights, terms, experts),
        spread=_spread(landscape, data, weights, terms.gradients, seed),
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


def _shape(landscape: Landscape, examples: Examples, g: Tensor, bent: Tensor, seed: int) -> LocalShape:
    twice = landscape.products(examples, bent[None])[0]
    gradient, once, again = norms(torch.stack([g, bent, twice])).tolist()
    ends = extremes(lambda v: landscape.products(examples, v), g, 2, tolerance=_TOLERANCE, seed=seed)
    lowest, highest = (ends.eigenvalues + ends.residuals * (-1, 1)).tolist()
    return LocalShape(gradient, once, again, lowest, highest, lipschitz=0.0)


def _pooled(
    landscape: Landscape,
    data: Sequence[Examples],
    weights: Sequence[float],
    terms: SecondOrder,
    experts: Sequence[LocalShape],
) -> LocalShape:
    def multiply(vector: Tensor) -> Tensor:
        parts = (w * landscape.products(d, vector[None])[0] for w, d in zip(weights, data, strict=True))
        return torch.stack(list(parts)).sum(0)

    mean = terms.mean_gradient(weights)
    bent = multiply(mean)
    gradient, once, twice = norms(torch.stack([mean, bent, multiply(bent)])).tolist()
    pairs = list(zip(weights, experts, strict=True))  # eigenvalues of a sum lie within the sums (Weyl)
    lowest, highest = (fsum(w * getattr(e, end) for w, e in pairs) for end in ("lowest", "highest"))
    return LocalShape(gradient, once, twice, lowest, highest, lipschitz=0.0)


def _spread(
    landscape: Landscape, data: Sequence[Examples], weights: Sequence[float], gradients: Tensor, seed: int
) -> float:
    def apart(k: int, j: int) -> float:
        difference = spectral_norm(
            lambda v: landscape.products(data[k], v) - landscape.products(data[j], v),
            gradients[k],
            tolerance=_TOLERANCE,
            seed=seed,
        )
        return difference * norms((gradients[k] - gradients[j])[None]).item()

    return fsum(weights[k] * weights[j] * apart(k, j) for k, j in combinations(range(len(data)), 2))
