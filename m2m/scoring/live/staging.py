"""Experts on their way to a device: copied once if they fit there, else piece by piece for each merge."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from m2m.ops import weighted_sum_into

#: Memory of the device that pieces of experts take at one time. A guess: no GPU was at hand to measure on.
STAGED_BYTES = 128 * 2**20
#: Pieces under way: one is copied in host memory while the other goes to the device and is summed there.
_UNDER_WAY = 2
#: Pieces begin at multiples of this many numbers, so that a device may load wide.
_ALIGNED = 64


def moved_state(state: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copy a model's tensors to a device.

    Args:
        state: Tensor by name.
        device: The device.

    Returns:
        The same on the device; what was one object under two names still is.
    """
    moved = {id(tensor): tensor.to(device) for tensor in state.values()}
    return {name: moved[id(tensor)] for name, tensor in state.items()}


def sum_from_host(
    outs: Sequence[Tensor],
    experts: Sequence[Tensor],
    weights: Tensor,
    *,
    threads: int | None = None,
    staged: int = STAGED_BYTES,
) -> None:
    """Do `m2m.ops.weighted_sum_into` on the outputs' device with experts that are in host memory.

    On a CUDA device, pieces pass through pinned memory: while one is on its way the next is copied there.
    The bits do not depend on the pieces.

    Args:
        outs: M contiguous tensors on one device; overwritten. each [*S]
        experts: N contiguous tensors in host memory. each [*S]
        weights: Merging weights. [M, N]
        threads: CPU threads, where the outputs are in host memory too.
        staged: Most bytes that the pieces take on the device, as long as a piece has some numbers.
    """
    device = outs[0].device
    flat_outs, flat = [out.view(-1) for out in outs], [expert.view(-1) for expert in experts]
    fitting = staged // (_UNDER_WAY * len(flat) * flat[0].element_size())
    step = max(1, fitting // _ALIGNED) * _ALIGNED
    under_way: deque[torch.cuda.Event] = deque()
    for start in range(0, len(flat[0]), step):
        if len(under_way) == _UNDER_WAY:
            under_way.popleft().synchronize()
        pieces = [_sent(expert[start : start + step], device) for expert in flat]
        weighted_sum_into([out[start : start + step] for out in flat_outs], pieces, weights, threads=threads)
        if device.type == "cuda":
            under_way.append(torch.cuda.current_stream(device).record_event())


def _sent(piece: Tensor, device: torch.device) -> Tensor:
    # Both allocators give memory out again only when the device is done with it.
    host = piece.pin_memory() if device.type == "cuda" else piece
    return host.to(device, non_blocking=True)
