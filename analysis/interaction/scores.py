"""The residual in score space: what it does to the target's loss, and which choices it can turn round."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from analysis.curvature.landscape import Landscape, inner
from m2m.setups.protocol import Examples


def score_effect(
    landscape: Landscape, examples: Examples, merged: Tensor, residuals: Sequence[Tensor]
) -> list[float]:
    """Predict how much a residual changes a loss: ∇L(θ̃)ᵀΔ.

    Args:
        landscape: The losses.
        examples: What the loss is averaged over.
        merged: Displacement of the merged model. [P]
        residuals: Residuals Δ, measured or predicted. each [P]

    Returns:
        L(θ*) − L(θ̃) to first order for each residual, nat.
    """
    gradient = landscape.gradient(examples, at=merged)[None]
    return [inner(gradient, residual[None]).item() for residual in residuals]


def flips(surrogate: ArrayLike, effect: ArrayLike) -> list[tuple[int, int]]:
    """Find the pairs of mixtures whose order the residual turns round.

    A constant effect turns nothing: only how it varies over mixtures matters.

    Args:
        surrogate: Loss of each merged model. [M]
        effect: What the residual adds to each. [M]

    Returns:
        Pairs of row numbers, smaller first, where surrogate and surrogate + effect disagree strictly.
    """
    before = np.asarray(surrogate, dtype=np.float64)
    after = before + np.asarray(effect, dtype=np.float64)
    pairs = combinations(range(len(before)), 2)
    return [(i, j) for i, j in pairs if (before[i] - before[j]) * (after[i] - after[j]) < 0]
