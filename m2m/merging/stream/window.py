"""Runs of tensors that are passed over several times while their pages are still in the page cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from m2m.merging.compiled import MergeDevice, StreamPlan
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.tensors import PlannedTensor, WeightBlock
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.work_folder import Position

#: Bytes that the inputs of one window have, counted in the output's type, unless a single tensor has more.
WINDOW_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Window:
    """A run of tensors that passes go over; the driver itself copies those that must not be averaged.

    Attributes:
        core: The compiled plan; passes number tensors as it does.
        first: Number of the window's first tensor in the plan.
        tensors: The tensors, copied ones too.
        blocks: The plan's weights, which tensors refer to by number. each [M, N]
        allow_nonfinite: Whether NaN and infinities may pass.
        slot_bytes: Staging memory of one input or output, a worker: no chunk is larger.
        memory: Bytes that a pass may hold besides the staging buffers, all workers together.
        device: Where weighted sums are computed; nothing for the CPU.
    """

    core: StreamPlan
    first: int
    tensors: tuple[PlannedTensor, ...]
    blocks: tuple[WeightBlock, ...]
    allow_nonfinite: bool
    slot_bytes: int
    memory: int
    device: MergeDevice | None = None

    @property
    def end(self) -> int:
        """Number of the first tensor after the window."""
        return self.first + len(self.tensors)

    def merged(self) -> Iterator[tuple[int, PlannedTensor]]:
        """The tensors that are merged, not copied, with their numbers in the plan."""
        for number, tensor in enumerate(self.tensors, start=self.first):
            if not tensor.copied:
                yield number, tensor


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
    """Cut what a plan has left after `start` into windows; `single` allows one if nothing is read twice."""
    limit = None if single and plan.method.reads_once else WINDOW_BYTES
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
