"""A predicted residual beside the measured one, in weights and in scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, inner
from analysis.results import Reasons
from m2m.setups.protocol import Examples

_NO_RESIDUAL = "the measured or the predicted residual is zero"
#: Why a number of an `Agreement`, or one beside it, may not be there.
WHY_UNDEFINED: Reasons = {
    "cosine": _NO_RESIDUAL,
    "share": _NO_RESIDUAL,
    "scale": _NO_RESIDUAL,
    "relative": "the trained model did not move",
    "rho": "the mean gradient is zero, and what bends it is not",
}


@dataclass(frozen=True)
class Agreement:
    """How much of a measured vector a prediction explains.

    Attributes:
        measured: ‖Δ‖ of the measured residual.
        predicted: ‖Δ̂‖ of the prediction.
        cosine: Cosine between them; None if one is zero.
        share: 1 − ‖Δ − Δ̂‖²/‖Δ‖², 1 at best, below 0 if predicting nothing were better; None if Δ is zero.
        scale: The factor on Δ̂ that would explain most; then the share would be cosine². None if Δ̂ is zero.
    """

    measured: float
    predicted: float
    cosine: float | None
    share: float | None
    scale: float | None


def agreement(measured: Tensor, predicted: Tensor) -> Agreement:
    """Compare a prediction with what was measured.

    Args:
        measured: Δ. [P]
        predicted: Δ̂. [P]

    Returns:
        The comparison.
    """
    rows = torch.stack([measured, predicted])
    (m2, mp), (_, p2) = inner(rows, rows).tolist()
    return Agreement(
        measured=math.sqrt(m2),
        predicted=math.sqrt(p2),
        cosine=mp / math.sqrt(m2 * p2) if m2 * p2 else None,
        share=(2 * mp - p2) / m2 if m2 else None,
        scale=mp / p2 if p2 else None,
    )


def quotient(top: float, bottom: float) -> float:
    """Divide two lengths; NaN where nothing is divided by: a zero would be read as agreement."""
    return top / bottom if bottom else math.nan


def score_effect(
    surface: LossSurface, examples: Examples, merged: Tensor, residuals: Sequence[Tensor]
) -> list[float]:
    """Predict how much a residual changes a loss: ∇L(θ̃)ᵀΔ.

    Args:
        surface: The losses.
        examples: What the loss is averaged over.
        merged: Displacement of the merged model. [P]
        residuals: Residuals Δ, measured or predicted. each [P]

    Returns:
        L(θ*) − L(θ̃) to first order for each residual, nat.
    """
    gradient = surface.gradient(examples, at=merged)[None]
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
