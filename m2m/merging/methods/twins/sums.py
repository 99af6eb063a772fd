"""Sums over whole tensors whose bits do not depend on chunks, threads or instruction sets.

Contract: elements are counted in row-major order from the tensor's first element and cut into segments of 65
    536. In a segment,
lane j of 16 adds the terms with index ≡ j (mod 16) in ascending order, starting from 0.0, in float64; lanes
are folded in halves (lane j += lane j + 8, then 4, 2, 1); segment sums are added in ascending order, starting
from 0.0. A product of two values of 32 bits or fewer is exact in float64, so it does not matter whether it is
fused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SEGMENT = 65536
LANES = 16


def ordered_sum(terms: Tensor) -> float:
    """Sum a tensor in the order of the contract.

    Args:
        terms: Any shape, float64. [*S]

    Returns:
        The sum.
    """
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
    """Return the terms as [segments, steps, lanes], with zeros appended.

    A zero at the end of a lane changes no sum: a lane starts at +0.0, so it never holds -0.0.
    """
    count = terms.numel()
    whole = SEGMENT if count > SEGMENT else LANES
    padded = torch.nn.functional.pad(terms.reshape(-1), (0, -count % whole))
    return padded.reshape(_segments(count), -1, LANES) if count else padded.reshape(0, 0, LANES)


def ascending_sum(values: Sequence[Tensor]) -> Tensor:
    """Add tensors element by element, in order, starting from 0.0.

    Args:
        values: Tensors of one shape, float64. each [*S]

    Returns:
        Their sum. [*S]
    """
    total = torch.zeros_like(values[0])
    for value in values:
        total = total + value
    return total


def gram_matrix(points: Sequence[Tensor]) -> list[list[float]]:
    """Compute all inner products ⟨x_i, x_j⟩ in the order of the contract.

    Args:
        points: K tensors of one shape, in the task vector type. each [*S]

    Returns:
        The symmetric matrix, float64. [K, K]
    """
    wide = [point.double() for point in points]
    matrix = [[0.0] * len(wide) for _ in wide]
    for i, left in enumerate(wide):
        for j in range(i + 1):
            matrix[i][j] = matrix[j][i] = ordered_sum(left * wide[j])
    return matrix
