"""A predicted residual beside the measured one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.curvature.landscape import inner


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
    """Divide two lengths.

    Args:
        top: The one.
        bottom: The other.

    Returns:
        top / bottom; NaN where nothing is divided by: a zero would be read as agreement.
    """
    return top / bottom if bottom else math.nan
