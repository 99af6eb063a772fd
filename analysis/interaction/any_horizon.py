"""The residual at any horizon while losses are quadratic: gradient descent by products at the base."""

from __future__ import annotations

from torch import Tensor

from analysis.curvature.landscape import Landscape
from analysis.interaction.second_order import SecondOrder
from analysis.interaction.step_sizes import StepSizes
from m2m.mixture import Mixture


def residual_of_quadratics(
    landscape: Landscape, terms: SecondOrder, mixture: Mixture, steps: StepSizes
) -> Tensor:
    """Predict Δ(λ) with every order of ηH, but none of the losses' third derivatives.

    Follows x ← x − η(g + Hx) for each member and for the mixture. In closed form, for equal steps, it ends at
    −P_T(H)g with P_T(H) = H⁻¹(I − (I − ηH)^T). What it misses of a measured residual is not quadratic; what
    `SecondOrder.residual` misses beyond that is the horizon. Costs 2nT Hessian-vector products, n members.

    Args:
        landscape: The losses.
        terms: Second-order terms of all the mixture's datasets.
        mixture: The mixture λ.
        steps: The learning rates.

    Returns:
        Δ(λ) of the losses' quadratic models. [P]
    """
    shares = {name: w for name, w in zip(mixture.datasets, mixture.weights, strict=True) if w > 0}
    gradients = dict(zip(terms.datasets, terms.gradients, strict=True))
    merged = landscape.zeros()
    for name, share in shares.items():
        merged += share * _follow(landscape, {name: 1.0}, gradients, steps)
    return _follow(landscape, shares, gradients, steps) - merged


def _follow(
    landscape: Landscape, shares: dict[str, float], gradients: dict[str, Tensor], steps: StepSizes
) -> Tensor:
    x = landscape.zeros()
    for rate in steps.rates:
        slope = landscape.zeros()
        for name, share in shares.items():
            bent = landscape.products(landscape.setup.datasets[name], x[None])[0]
            slope += share * (gradients[name] + bent)
        x -= rate * slope
    return x
