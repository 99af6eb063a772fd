"""Measure a residual by training: the experts, the mixture, and the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

import torch
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface
from m2m.mixing.anchored import reached
from m2m.mixture import Mixture
from m2m.setups.protocol import Setup
from m2m.support.devices import one_thread
from m2m.training import TrainRecipe, fine_tune

#: Mixture weights are told apart from fractions with larger denominators than this.
_LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True)
class TrainedResidual:
    """A merge and the training it stands for, as displacements from θ₀.

    Attributes:
        experts: x_n = θ_n − θ₀ of the experts with a weight above zero. [n, P]
        merged: Σ w_n x_n. [P]
        mixture: θ*(λ) − θ₀. [P]
    """

    experts: Tensor
    merged: Tensor
    mixture: Tensor

    @property
    def residual(self) -> Tensor:
        """Δ = θ*(λ) − θ̃(λ). [P]."""
        return self.mixture - self.merged


def trained_residual(
    surface: LossSurface,
    base: Mapping[str, Tensor],
    experts: Sequence[Mixture],
    weights: Sequence[float],
    recipe: TrainRecipe,
    seed: int = 0,
) -> TrainedResidual:
    """Train every expert that has a weight, and the mixture their merge stands for.

    Args:
        surface: The losses; its set-up is what is trained on.
        base: θ₀, tensor by name.
        experts: What each expert trains on: one dataset, or an anchored mixture. [N]
        weights: Merging weights w, summing to 1. [N]
        recipe: The uniform recipe.
        seed: Training seed.

    Returns:
        Experts, merged model and mixture-trained model.
    """

    def train(mixture: Mixture) -> Tensor:
        return surface.displacement(fine_tune(surface.setup, base, mixture, recipe, seed))

    used = [(row, weight) for row, weight in zip(experts, weights, strict=True) if weight > 0]
    with one_thread():
        moves = torch.stack([train(row) for row, _ in used])
        mixture = train(reached(experts, weights))
    merged = torch.tensor([weight for _, weight in used], dtype=moves.dtype) @ moves
    return TrainedResidual(moves, merged, mixture)


def full_batch(setup: Setup, mixtures: Sequence[Mixture], recipe: TrainRecipe) -> TrainRecipe:
    """Widen a recipe's batch until each step sees every example of each mixture in its exact share.

    The sampler gives every dataset exactly λ_k·B examples a step where that is whole, in shuffled epochs; so
    if λ_k·B is a multiple of the dataset's size, each step is full-batch gradient descent on Σ_k λ_k L_k.

    Args:
        setup: The set-up trained on; keep its datasets small.
        mixtures: All that is to be trained.
        recipe: The recipe.

    Returns:
        The recipe with the smallest such batch.
    """
    shares = [
        Fraction(weight).limit_denominator(_LARGEST_DENOMINATOR) / len(setup.datasets[name])
        for mixture in mixtures
        for name, weight in mixture.shares.items()
        if weight > 0
    ]
    return replace(recipe, batch=lcm(*(share.denominator for share in shares)))
