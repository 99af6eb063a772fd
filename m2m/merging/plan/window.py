"""A window: the run of a plan's tensors that a method's passes go over together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from m2m.merging.compiled import MergeDevice, StreamPlan
from m2m.merging.plan.tensors import PlannedTensor, WeightBlock


@dataclass(frozen=True)
class Window:
    """A run of tensors that passes go over; the driver itself copies those that must not be averaged."""

    #: The compiled plan; passes number tensors as it does.
    core: StreamPlan
    #: Number of the window's first tensor in the plan.
    first: int
    #: The tensors, copied ones too.
    tensors: tuple[PlannedTensor, ...]
    #: The plan's weights, which tensors refer to by number. each [M, N]
    blocks: tuple[WeightBlock, ...]
    #: Whether NaN and infinities may pass.
    allow_nonfinite: bool
    #: Staging memory of one input or output, a worker: no chunk is larger.
    slot_bytes: int
    #: Bytes that a pass may hold besides the staging buffers, all workers together.
    memory: int
    #: Where weighted sums are computed; nothing for the CPU.
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
