"""From a bound on the residual to a bound on the error of the surrogate score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.curvature.landscape import Landscape, norms
from analysis.curvature.spectrum import spectral_norm
from analysis.error_bound.remainder import lipschitz
from m2m.setups.protocol import Examples


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

    def moved(self, landscape: Landscape, examples: Examples, merged: Tensor) -> ScoreShape:
        """Go from the base to a merged model.

        Args:
            landscape: The losses.
            examples: The target's examples.
            merged: Displacement of the merged model. [P]

        Returns:
            The shape there; its curvature is bounded by the base's and how far that can change.
        """
        rho = lipschitz(landscape, examples, [merged])
        slope, length = norms(torch.stack([landscape.gradient(examples, at=merged), merged])).tolist()
        return ScoreShape(
            landscape.value(examples, at=merged), slope, self.curvature + rho * length, lipschitz=rho
        )


def base_shape(landscape: Landscape, examples: Examples, *, seed: int = 0) -> ScoreShape:
    """Measure a target's loss at the base.

    Args:
        landscape: The losses.
        examples: The target's examples.
        seed: Seed of the Lanczos starting vector.

    Returns:
        Its value, slope and curvature.
    """
    gradient = landscape.gradient(examples)
    return ScoreShape(
        loss=landscape.value(examples),
        gradient=norms(gradient[None]).item(),
        curvature=spectral_norm(
            lambda v: landscape.products(examples, v), gradient, tolerance=1e-3, seed=seed
        ),
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
