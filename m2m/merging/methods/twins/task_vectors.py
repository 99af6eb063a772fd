"""Twin of the task-vector family (ties, dare, della, breadcrumbs).

Contract, each step float64 and rounded, n ascending, starting from 0.0: c_n = w_n·scale_n; v_n = c_n·τ_n
where kept, else 0; S = Σ v_n. Without election m = S and d = Σ w_n (correctly rounded). With election the
sign e of S is elected, the experts with sign v_n = e agree, m = Σ v_n and d = Σ w_n over those; sign 0 = 0,
so at S = 0 nothing is merged (`mergekit`: e = +1). With normalize m ← m / d where d ≠ 0. Then m ← m·λ and the
output is θ₀ + m, rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from m2m.merging.methods.spec import Inputs, Settings, Trim
from m2m.merging.methods.twins.rounding import add_to_base, task_vectors
from m2m.merging.methods.twins.sums import ascending_sum
from m2m.merging.methods.twins.trims import trim_task_vector
from m2m.merging.methods.weights import normaliser


def merge(inputs: Inputs, settings: Settings, out_dtype: torch.dtype, *, trim: Trim, elect: bool) -> Tensor:
    """Merge one tensor.

    Args:
        inputs: Base model and experts. each [*S]
        settings: The method's parameters for this tensor.
        out_dtype: Type of the result.
        trim: The trimming rule.
        elect: Whether signs are elected.

    Returns:
        The merged tensor. [*S]
    """
    assert inputs.base is not None
    weights = settings.numbers("weight")
    values = []
    for position, vector in enumerate(task_vectors(inputs.base, inputs.experts)):
        kept = trim_task_vector(vector, trim, settings, position)
        change = (weights[position] * kept.scale) * vector.double()
        values.append(torch.where(kept.mask, change, 0.0))
    change, divisor = _elected(values, weights, settings) if elect else (ascending_sum(values), None)
    if settings.flag("normalize"):
        change = change / (normaliser(weights, settings) if divisor is None else divisor)
    return add_to_base(inputs.base, change * settings.number("lambda"), out_dtype)


def elected_sign(total: Tensor, definition: str) -> Tensor:
    """Elect a sign an element (TIES-Merging, arXiv 2306.01708, section 3, step 2).

    Args:
        total: Sum of the experts' values, float64. [*S]
        definition: `paper`: 0 at an exact tie; `mergekit`: +1.

    Returns:
        −1, 0 or +1. [*S]
    """
    return torch.where(total >= 0, 1.0, -1.0).double() if definition == "mergekit" else torch.sign(total)


def _elected(values: list[Tensor], weights: list[float], settings: Settings) -> tuple[Tensor, Tensor]:
    sign = elected_sign(ascending_sum(values), settings.definition)
    agree = [torch.sign(value) == sign for value in values]
    change = ascending_sum([torch.where(a, value, 0.0) for a, value in zip(agree, values, strict=True)])
    divisor = ascending_sum([a.double() * weight for a, weight in zip(agree, weights, strict=True)])
    return change, torch.where(divisor == 0, 1.0, divisor)
