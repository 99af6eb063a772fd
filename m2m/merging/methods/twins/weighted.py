"""Twin shared by all methods whose result is a weighted sum of the inputs, by tensor or by row."""

from __future__ import annotations

import torch
from torch import Tensor

from m2m.merging.methods.spec import Coefficients, Inputs, Settings
from m2m.merging.methods.twins.rounding import task_vector_type, task_vectors
from m2m.merging.methods.twins.sums import gram_matrix
from m2m.merging.methods.weights import input_weights
from m2m.ops import weighted_sum_reference


def merge_weighted(
    inputs: Inputs,
    settings: Settings,
    out_dtype: torch.dtype,
    *,
    coefficients: Coefficients,
    needs_gram: bool,
    on_task_vectors: bool,
    vectors: int | None,
) -> Tensor:
    """Merge one tensor as Σ_n α_n θ_n, with α from parameters alone or from the Gram matrix of the points.

    Args:
        inputs: The tensors. each [*S]
        settings: The method's parameters for this tensor.
        out_dtype: Type of the result.
        coefficients: Computes the points' weights.
        needs_gram: Whether it needs the Gram matrix.
        on_task_vectors: Whether the points are τ_n (else they are the inputs themselves, the base model
            first).
        vectors: Axis along which one vector lies, each with weights of its own; None takes the whole tensor
            as one vector.

    Returns:
        The merged tensor. [*S]
    """
    tensors = [*([] if inputs.base is None else [inputs.base]), *inputs.experts]
    wide = task_vector_type(tensors)
    if vectors is None or tensors[0].dim() < 2 or not tensors[0].numel():
        return _merge(tensors, settings, out_dtype, coefficients, needs_gram, on_task_vectors, wide)
    rows = [tensor.movedim(vectors, -1) for tensor in tensors]
    shape = rows[0].shape
    flat = [row.reshape(-1, shape[-1]) for row in rows]
    merged = torch.empty(flat[0].shape, dtype=out_dtype)
    for r in range(len(merged)):
        row = [matrix[r] for matrix in flat]
        merged[r] = _merge(row, settings, out_dtype, coefficients, needs_gram, on_task_vectors, wide)
    return merged.reshape(shape).movedim(-1, vectors).contiguous()


def _merge(
    tensors: list[Tensor],
    settings: Settings,
    out_dtype: torch.dtype,
    coefficients: Coefficients,
    needs_gram: bool,
    on_task_vectors: bool,
    wide: torch.dtype,
) -> Tensor:
    points = (
        task_vectors(tensors[0], tensors[1:]) if on_task_vectors else [tensor.to(wide) for tensor in tensors]
    )
    gram = gram_matrix(points) if needs_gram else None
    weights = input_weights(coefficients(gram, settings), on_task_vectors=on_task_vectors)
    # Inputs of different types widen first, which is exact.
    same = (
        tensors if len({tensor.dtype for tensor in tensors}) == 1 else [tensor.to(wide) for tensor in tensors]
    )
    row = torch.tensor([weights], dtype=torch.float64)
    return weighted_sum_reference(same, row, out_dtype=out_dtype)[0]
