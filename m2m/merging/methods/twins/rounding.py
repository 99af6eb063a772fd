"""Types and roundings of the methods that are not plain weighted sums.

Contract: inputs widen exactly to the *task vector type* (float32; float64 as soon as one input is float64). A
    task vector is
τ = fl(θ − θ₀) in that type, one rounding. Everything after that is float64, product and sum rounded apart (no
fma), and the result is rounded once, to nearest even, to the output type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from m2m.ops import weighted_sum_reference


def task_vector_type(tensors: Iterable[Tensor]) -> torch.dtype:
    """Choose the type task vectors are formed in.

    Args:
        tensors: All inputs of one merge.

    Returns:
        float64 if any input is float64, else float32.
    """
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def task_vectors(base: Tensor, experts: Sequence[Tensor]) -> list[Tensor]:
    """Form τ_n = fl(θ_n − θ₀).

    Args:
        base: θ₀. [*S]
        experts: The θ_n. each [*S]

    Returns:
        The task vectors in the task vector type. each [*S]
    """
    wide = task_vector_type([base, *experts])
    origin = base.to(wide)
    return [expert.to(wide) - origin for expert in experts]


def round_once(exact: Tensor, out_dtype: torch.dtype) -> Tensor:
    """Round float64 once, to nearest even (a plain cast to a 16-bit type rounds twice).

    Args:
        exact: Values, float64. [*S]
        out_dtype: A floating-point type.

    Returns:
        The rounded values. [*S]
    """
    # A weighted sum of one term with weight one changes nothing before its one rounding.
    return weighted_sum_reference([exact], [[1.0]], out_dtype=out_dtype)[0]


def add_to_base(base: Tensor, change: Tensor, out_dtype: torch.dtype) -> Tensor:
    """Add a merged task vector to the base model and store it.

    Args:
        base: θ₀. [*S]
        change: Merged task vector, float64. [*S]
        out_dtype: The output type.

    Returns:
        round(θ₀ + change). [*S]
    """
    return round_once(base.double() + change, out_dtype)
