"""What the reference twins are built of: types and roundings, exact selection, sums in a fixed order (torch).

Types: inputs widen exactly to the *task vector type* (float32; float64 as soon as one input is float64), and
τ = fl(θ − θ₀) in that type, one rounding. Everything after that is float64, product and sum rounded apart (no
fma), and the result is rounded once, to nearest even, to the output type.

Selection: magnitudes are compared as the bits of |x| in its own type, which order like the numbers. The
larger bits rank first; equal bits rank by element index, the lower index first. So exactly k elements are
kept, whatever the ties, and a stream finds them with a threshold (the k-th largest bits) and the number of
elements at the threshold that still fit.

Sums: elements are counted in row-major order from the tensor's first element and cut into segments of 65
536. In a segment, lane j of 16 adds the terms with index ≡ j (mod 16) in ascending order, starting from 0.0,
in float64; lanes are folded in halves (lane j += lane j + 8, then 4, 2, 1); segment sums are added in
ascending order, starting from 0.0. A product of two values of 32 bits or fewer is exact in float64, so it
does not matter whether it is fused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from m2m.ops import weighted_sum_reference

SEGMENT = 65536
LANES = 16
#: The integer type with the bits of each floating-point type that is selected on.
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def task_vector_type(tensors: Iterable[Tensor]) -> torch.dtype:
    """float64 if any input of the merge is float64, else float32."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def task_vectors(base: Tensor, experts: Sequence[Tensor], beside: Sequence[Tensor] = ()) -> list[Tensor]:
    """τ_n = fl(θ_n − θ₀), in the task vector type each [*S]; `beside` is what else goes into the merge."""
    wide = task_vector_type([base, *experts, *beside])
    origin = base.to(wide)
    return [expert.to(wide) - origin for expert in experts]


def round_once(exact: Tensor, out_dtype: torch.dtype) -> Tensor:
    """Round float64 once, to nearest even (a plain cast to a 16-bit type rounds twice) [*S]."""
    # A weighted sum of one term with weight one changes nothing before its one rounding.
    return weighted_sum_reference([exact], [[1.0]], out_dtype=out_dtype)[0]


def add_to_base(base: Tensor, change: Tensor, out_dtype: torch.dtype) -> Tensor:
    """round(θ₀ + change), the change a merged task vector in float64 [*S]."""
    return round_once(base.double() + change, out_dtype)


def square_root(values: Tensor) -> Tensor:
    """√x in float64, correctly rounded; torch's own, of a vector library, is a last bit off at times [*S]."""
    return torch.from_numpy(np.asarray(np.sqrt(values.double().numpy())))


def magnitude_bits(values: Tensor) -> Tensor:
    """Integers (int64) that order like |values| of float32 or float64 [*S]."""
    return values.abs().contiguous().view(_BITS[values.dtype]).long()


def largest(bits: Tensor, count: int) -> Tensor:
    """Mark exactly the `count` largest magnitude bits; of equal ones, those with the lowest index [*S]."""
    flat = bits.reshape(-1)
    if count == 0:
        return torch.zeros_like(bits, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    above, at = flat > threshold, flat == threshold
    room = count - int(above.sum())
    return (above | (at & (at.cumsum(0) <= room))).reshape(bits.shape)


def ranks(bits: Tensor) -> Tensor:
    """Rank each row's bits, 0 for the largest; of equal ones the lowest index ranks first [R, C]."""
    order = bits.sort(dim=1, descending=True, stable=True).indices
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(bits.shape[1]).expand_as(order).contiguous()
    )


def share_count(share: float, total: int) -> int:
    """floor(share·total), the product rounded to float64 first, as mergekit counts."""
    return int(share * total)


def ordered_sum(terms: Tensor) -> float:
    """Sum a float64 tensor of any shape in the order of the contract."""
    lanes = torch.zeros(_segments(terms.numel()), LANES, dtype=torch.float64)
    for rows in _padded(terms).unbind(dim=1):
        lanes += rows
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    total = 0.0
    for segment in lanes[:, 0].tolist():
        total += segment
    return total


def _segments(count: int) -> int:
    return -(-count // SEGMENT)


def _padded(terms: Tensor) -> Tensor:
    # [segments, steps, lanes], with zeros appended: a lane starts at +0.0, so it never holds -0.0, and a zero
    # at its end changes no sum.
    count = terms.numel()
    whole = SEGMENT if count > SEGMENT else LANES
    padded = torch.nn.functional.pad(terms.reshape(-1), (0, -count % whole))
    return padded.reshape(_segments(count), -1, LANES) if count else padded.reshape(0, 0, LANES)


def sum_inputs(tensors: Sequence[Tensor], weights: Sequence[float], out_dtype: torch.dtype) -> Tensor:
    """The kernel's weighted sum, one output; inputs of different types widen first, which is exact [*S]."""
    if len({tensor.dtype for tensor in tensors}) > 1:
        wide = task_vector_type(tensors)
        tensors = [tensor.to(wide) for tensor in tensors]
    row = torch.tensor([weights], dtype=torch.float64)
    return weighted_sum_reference(tensors, row, out_dtype=out_dtype)[0]


def ascending_sum(values: Sequence[Tensor]) -> Tensor:
    """Add float64 tensors element by element, in order, starting from 0.0 [*S]."""
    total = torch.zeros_like(values[0])
    for value in values:
        total = total + value
    return total


def gram_matrix(points: Sequence[Tensor]) -> list[list[float]]:
    """All inner products ⟨x_i, x_j⟩ of K tensors, in the order of the contract [K, K]."""
    wide = [point.double() for point in points]
    matrix = [[0.0] * len(wide) for _ in wide]
    for i, left in enumerate(wide):
        for j in range(i + 1):
            matrix[i][j] = matrix[j][i] = ordered_sum(left * wide[j])
    return matrix
