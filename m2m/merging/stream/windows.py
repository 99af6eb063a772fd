"""Runs of tensors that are passed over several times while their pages are still in the page cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.window import Window
from m2m.merging.stream.work_folder import Position

if TYPE_CHECKING:
    from m2m._core import MergeDevice, StreamPlan

#: Bytes that the inputs of one window have, counted in the output's type, unless a single tensor has more.
WINDOW_BYTES = 256 * 2**20


def windows(
    plan: MergePlan,
    core: StreamPlan,
    start: Position,
    staging: Staging,
    allow_nonfinite: bool,
    *,
    single: bool,
    device: MergeDevice | None = None,
) -> Iterator[Window]:
    """Cut what is left of a plan into windows.

    Args:
        plan: The plan.
        core: The same, compiled.
        start: Everything before it has been written already.
        staging: Workers and their buffers.
        allow_nonfinite: Whether NaN and infinities may pass.
        single: Whether one window may hold everything where every tensor is read only once.
        device: Where weighted sums are computed; nothing for the CPU.

    Yields:
        Window: The windows, in the plan's order.
    """
    reads_once = plan.method is None or plan.method.kind in {"weights", "elementwise"}
    limit = None if single and reads_once else WINDOW_BYTES
    first = start[0]
    while first < len(plan.tensors):
        end = _end(plan, first, limit)
        yield Window(
            core,
            first,
            plan.tensors[first:end],
            plan.blocks,
            allow_nonfinite,
            staging.slot_bytes,
            staging.spare_bytes,
            device,
        )
        first = end


def _end(plan: MergePlan, first: int, limit: int | None) -> int:
    if limit is None:
        return len(plan.tensors)
    end, nbytes = first, 0
    while end < len(plan.tensors):
        nbytes += plan.tensors[end].entry.nbytes * len(plan.tensors[end].sources)
        if nbytes > limit and end > first:
            break
        end += 1
    return end
