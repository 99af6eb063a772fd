"""Exact selection: the k largest magnitudes of a tensor, without sampling.

Contract: magnitudes are compared as the bits of |x| in its own type, which order like the numbers. The larger
    bits rank first; equal
bits rank by element index, the lower index first. So exactly k elements are kept, whatever the ties, and a
stream finds them with a threshold (the k-th largest bits) and the number of elements at the threshold that
still fit.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The integer type with the bits of each floating-point type that is selected on.
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def magnitude_bits(values: Tensor) -> Tensor:
    """Return integers that order like |values|.

    Args:
        values: float32 or float64. [*S]

    Returns:
        The bits of |values|, int64. [*S]
    """
    return values.abs().contiguous().view(_BITS[values.dtype]).long()


def largest(bits: Tensor, count: int) -> Tensor:
    """Mark the `count` largest entries; of equal ones, those with the lowest index.

    Args:
        bits: From `magnitude_bits`. [*S]
        count: How many to mark, 0 ≤ count ≤ P.

    Returns:
        A mask with exactly `count` true entries. [*S]
    """
    flat = bits.reshape(-1)
    if count == 0:
        return torch.zeros_like(bits, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    above, at = flat > threshold, flat == threshold
    room = count - int(above.sum())
    return (above | (at & (at.cumsum(0) <= room))).reshape(bits.shape)


def ranks(bits: Tensor) -> Tensor:
    """Rank each row's entries, 0 for the largest; of equal ones the lowest index ranks first.

    Args:
        bits: From `magnitude_bits`. [R, C]

    Returns:
        Ranks in [0, C), int64. [R, C]
    """
    order = bits.sort(dim=1, descending=True, stable=True).indices
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(bits.shape[1]).expand_as(order).contiguous()
    )


def share_count(share: float, total: int) -> int:
    """Turn a share of elements into a number of elements.

    Args:
        share: In [0, 1].
        total: Number of elements.

    Returns:
        floor(share·total), the product rounded to float64 first, as mergekit counts.
    """
    return int(share * total)
