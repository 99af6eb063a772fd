"""Twin of sce.

Contract, float64, n ascending: mean = (Σ τ_n)/N, variance = (Σ (τ_n − mean)²)/N; the k =
floor(select_topk·#{variance ≠ 0}) elements of largest variance are selected (bits of the float64 variance,
ties by index); select_topk = 1 selects all. Energies E_n = ordered sum of τ_n² over the selection, η_n = E_n
/ Σ E (ΣE added in ascending n; 1/N if zero). Sign e of Σ τ_n is elected as in the task-vector family; the
change is Σ η_n τ_n / Σ η_n over the selected experts that agree, 0 where the divisor is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from m2m.merging.methods.spec import Inputs, Settings
from m2m.merging.methods.twins.rounding import add_to_base, task_vectors
from m2m.merging.methods.twins.selection import largest, magnitude_bits, share_count
from m2m.merging.methods.twins.sums import ascending_sum, ordered_sum
from m2m.merging.methods.twins.task_vectors import elected_sign


def merge(inputs: Inputs, settings: Settings, out_dtype: torch.dtype) -> Tensor:
    """Merge one tensor.

    Args:
        inputs: Base model and experts. each [*S]
        settings: `select_topk`.
        out_dtype: Type of the result.

    Returns:
        The merged tensor. [*S]
    """
    assert inputs.base is not None
    vectors = [vector.double() for vector in task_vectors(inputs.base, inputs.experts)]
    selected = select(vectors, settings.number("select_topk"))
    vectors = [torch.where(selected, vector, 0.0) for vector in vectors]
    energies = [ordered_sum(vector * vector) for vector in vectors]
    total = sum(energies)
    shares = [energy / total if total > 0 else 1 / len(energies) for energy in energies]
    sign = elected_sign(ascending_sum(vectors), settings.definition)
    change, divisor = torch.zeros_like(vectors[0]), torch.zeros_like(vectors[0])
    for vector, share in zip(vectors, shares, strict=True):
        agree = torch.sign(vector) == sign
        change = change + torch.where(agree, share * vector, 0.0)
        divisor = divisor + agree.double() * share
    change = torch.where(divisor == 0, 0.0, change / torch.where(divisor == 0, 1.0, divisor))
    return add_to_base(inputs.base, change, out_dtype)


def select(vectors: list[Tensor], share: float) -> Tensor:
    """Mark the elements that vary most between experts.

    Args:
        vectors: Task vectors, float64. each [*S]
        share: `select_topk`, of the elements whose variance is not zero.

    Returns:
        A mask. [*S]
    """
    if share == 1:
        return torch.ones_like(vectors[0], dtype=torch.bool)
    mean = ascending_sum(vectors) / len(vectors)
    variance = ascending_sum([(vector - mean) * (vector - mean) for vector in vectors]) / len(vectors)
    return largest(magnitude_bits(variance), share_count(share, int((variance != 0).sum())))
