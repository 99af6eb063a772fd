"""Twin of fisher.

Contract, float64, n ascending from 0.0: g_n = w_n·max(F_n, floor); numerator Σ g_n·θ_n, denominator Σ g_n;
their quotient is rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from m2m.errors import CheckpointError
from m2m.merging.methods.spec import Inputs, Settings
from m2m.merging.methods.twins.rounding import round_once


def merge(inputs: Inputs, settings: Settings, out_dtype: torch.dtype) -> Tensor:
    """Merge one tensor.

    Args:
        inputs: Experts and their diagonal Fisher estimates. each [*S]
        settings: `weight`, `floor`.
        out_dtype: Type of the result.

    Returns:
        The merged tensor. [*S]

    Raises:
        CheckpointError: If a Fisher estimate is negative, or shaped unlike its expert.
    """
    numerator = torch.zeros(inputs.experts[0].shape, dtype=torch.float64)
    denominator = torch.zeros_like(numerator)
    for n, (expert, fisher, weight) in enumerate(
        zip(inputs.experts, inputs.fisher, settings.numbers("weight"), strict=True)
    ):
        if fisher.shape != expert.shape or bool((fisher < 0).any()):
            raise CheckpointError(
                f"Fisher estimate {n} of {settings.tensor} must be {tuple(expert.shape)} and not negative, "
                f"got {tuple(fisher.shape)}, smallest {fisher.min().item() if fisher.numel() else None}"
            )
        share = weight * fisher.double().clamp(min=settings.number("floor"))
        numerator = numerator + share * expert.double()
        denominator = denominator + share
    return round_once(numerator / denominator, out_dtype)
