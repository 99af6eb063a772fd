"""The third-order remainder: how fast a loss's Hessian changes, as seen where models really go."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from analysis.curvature.landscape import Landscape, norms
from m2m.setups.protocol import Examples

#: Shares of a displacement at which the remainder is looked at.
_SHARES = (0.5, 1.0)


def lipschitz(landscape: Landscape, examples: Examples, points: Sequence[Tensor]) -> float:
    """Estimate ρ in ‖∇L(θ₀ + x) − g − Hx‖ ≤ ½ρ‖x‖² from points on the way.

    The largest quotient over each point and its half: exact for a quadratic (0 up to rounding), an estimate
    from below of the constant of the whole ball otherwise.

    Args:
        landscape: The losses.
        examples: What the loss is averaged over.
        points: Displacements, say experts' and merged models'; one of zero says nothing. each [P]

    Returns:
        ρ, in nat a cubed unit of weight.
    """
    stacked = torch.stack(list(points))
    gradient, products = landscape.gradient(examples), landscape.products(examples, stacked)
    quotients: list[float] = []
    for share in _SHARES:
        for point, product in zip(stacked, products, strict=True):
            rest = landscape.gradient(examples, at=share * point) - gradient - share * product
            remainder, length = norms(torch.stack([rest, share * point])).tolist()
            if length:
                quotients.append(2 * remainder / (length * length))
    return max(quotients, default=0.0)
