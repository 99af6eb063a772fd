"""Sums of experts, written into boxes of a module's tensors: of any layout and float type."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from m2m.ops import weighted_sum, weighted_sum_into
from m2m.scoring.live.staging import sum_from_host


def sum_into_boxes(
    outs: Sequence[Tensor],
    terms: Sequence[Tensor],
    weights: Tensor,
    dtype: torch.dtype,
    *,
    threads: int | None = None,
) -> None:
    """Merge into boxes of a module's tensors, as merging to disk and loading would.

    The sum is rounded once, to the type in which a merged model stores it; a module that computes in another
    type gets what loading makes of that.

    Args:
        outs: The candidates' boxes, views that need not be contiguous; all with the terms, or on a device
            while these are in host memory. [M] of [*S]
        terms: What is summed; of any float types. [D] of [*S]
        weights: The terms' weights. [M, D]
        dtype: Type in which the merged tensor would be stored.
        threads: CPU threads of the sum; None for the kernel's own choice.
    """
    terms = _of_one_type(terms)
    direct = outs[0].is_contiguous() and terms[0].is_contiguous()
    if direct and outs[0].dtype == dtype == terms[0].dtype:
        merge = weighted_sum_into if terms[0].device == outs[0].device else sum_from_host
        merge(outs, terms, weights, threads=threads)
        return
    for out, row in zip(outs, weights, strict=True):
        out.copy_(weighted_sum(terms, row[None], out_dtype=dtype, threads=threads)[0])


def walking_order(strides: Sequence[int]) -> tuple[int, ...]:
    """Return the axes in the order in which they lie in memory (channels-last weights are permuted)."""
    return tuple(sorted(range(len(strides)), key=strides.__getitem__, reverse=True))


def _of_one_type(terms: Sequence[Tensor]) -> Sequence[Tensor]:
    # Sums of several types are formed in the widest accumulation type.
    kinds = {term.dtype for term in terms}
    if len(kinds) == 1:
        return terms
    widest = torch.float64 if torch.float64 in kinds else torch.float32
    return [term.to(widest) for term in terms]
