"""The seam between a merge method and the stream: over which tensors, which compiled passes, in which order.

A method is a function that is given a `Window` of tensors and yields compiled passes
(`m2m._core.StreamPass`). The driver runs each to its end over the whole window before it asks for the next
one, so what a pass has gathered can be asked of it when the function goes on. All but the last one only look
(`writes` is false); the last one writes:

    def passes(method: Method | None, window: Window) -> Iterator[StreamPass]:
        look = GramPass(window.core, ...)
        yield look
        yield MergePass(window.core, weights_from(look), ...)

Passes see merged tensors only: the driver itself copies what must not be averaged. A window is small enough
for the second pass to find its pages still in the page cache. After an interruption the looks of the window
are repeated and the write pass goes on where it stopped, so a pass must not depend on anything but the
window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.merging.methods.spec import Method
from m2m.merging.plan.tensors import PlannedTensor, WeightBlock

if TYPE_CHECKING:
    from m2m._core import MergeDevice, StreamPass, StreamPlan


@dataclass(frozen=True)
class Window:
    """A run of tensors that is passed over several times.

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
        """Go over the tensors that are merged, not copied.

        Yields:
            tuple[int, PlannedTensor]: Number in the plan, and tensor.
        """
        for number, tensor in enumerate(self.tensors, start=self.first):
            if not tensor.copied:
                yield number, tensor


#: Gives the passes of a method over a window.
Passes = Callable[[Method | None, Window], "Iterator[StreamPass]"]
