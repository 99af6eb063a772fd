"""Reference twin of sums with adapters: whole tensors, plain torch; the stream must give its bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from m2m.checkpoint.checkpoint import Checkpoint, read_tensor
from m2m.checkpoint.header import TORCH_NAMES, TensorInfo
from m2m.merging.lora.expert import AdaptedTensor
from m2m.merging.lora.product import Product
from m2m.merging.lora.terms import resolve_terms
from m2m.ops import weighted_sum_reference

if TYPE_CHECKING:
    from torch import Tensor, dtype


def product(source: Product) -> Tensor:
    """Form P = left · right as the stream does.

    Args:
        source: The factors.

    Returns:
        P, float64. [rows, columns]
    """
    left, right = read_tensor(source.left).double(), read_tensor(source.right).double()
    if source.transposed:
        left, right = left.T, right.T
    total = torch.full(source.shape, -0.0, dtype=torch.float64)
    for k in range(source.rank):
        total = total + left[:, k, None] * right[k]
    return total


def adapted(source: AdaptedTensor) -> Tensor:
    """Form θ = round(W + s·X) as the stream does.

    Args:
        source: What it is formed from.

    Returns:
        θ, in the type that `source` says. [*S]
    """
    added = product(source.added) if isinstance(source.added, Product) else read_tensor(source.added)
    terms, weights = [read_tensor(source.base).double(), added.double()], [[1.0, source.scale]]
    return weighted_sum_reference(terms, weights, out_dtype=getattr(torch, TORCH_NAMES[source.dtype]))[0]


def merge_adapted(
    experts: Sequence[tuple[Checkpoint, float]],
    name: str,
    *,
    base: Checkpoint | None = None,
    out_dtype: dtype | None = None,
) -> Tensor:
    """Merge one tensor of models of which some are adapters.

    The terms (`resolve_terms`) are added by the numeric contract's weighted sum: in float64 where an adapter
    adds a product, else in the accumulation type of what is read.

    Args:
        experts: Models and merging weights α. [N]
        name: The tensor.
        base: The base model of task vectors; weights are those of the models themselves when not given.
        out_dtype: Type of the result; the first dense tensor's when not given.

    Returns:
        The merged tensor. [*shape]
    """
    models = [*([] if base is None else [base]), *(model for model, _ in experts)]
    row = [weight for _, weight in experts]
    terms = resolve_terms(models, [name] * len(models), [row], on_task_vectors=base is not None)
    tensors = [
        read_tensor(source) if isinstance(source, TensorInfo) else product(source)
        for source in (*terms.dense, *terms.added)
    ]
    wide = torch.float32
    for tensor in tensors:
        wide = torch.promote_types(wide, tensor.dtype)
    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.to(wide) for tensor in tensors]
    out = out_dtype or read_tensor(terms.dense[0]).dtype
    return weighted_sum_reference(tensors, torch.tensor(terms.weights, dtype=torch.float64), out_dtype=out)[0]
