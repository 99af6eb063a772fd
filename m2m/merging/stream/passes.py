"""Passes over windows of a plan's tensors: run one after another, watched over, failures told by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from m2m.checkpoint.header import MERGEABLE
from m2m.errors import CheckpointError, M2MError
from m2m.merging.compiled import MergeDevice, Stream, StreamPass, StreamPlan
from m2m.merging.lora.additions import AdaptedTensor
from m2m.merging.plan.plan import MergePlan, bytes_before
from m2m.merging.plan.tensors import files_of, product_of
from m2m.merging.plan.window import Window
from m2m.merging.stream.memory import Staging
from m2m.merging.stream.work_folder import Position
from m2m.support.process_memory import anonymous_bytes
from m2m.support.progress import Progress

#: Bytes that the inputs of one window have, counted in the output's type, unless a single tensor has more.
WINDOW_BYTES = 256 * 2**20
_POLL_SECONDS = 0.1
_NOTES_EVERY = 5
#: Chunks take milliseconds; a disk that hangs for longer is not waited for.
_STOP_SECONDS = 1.0


def windows(
    plan: MergePlan,
    core: StreamPlan,
    start: Position,
    staging: Staging,
    allow_nonfinite: bool,
    *,
    single: bool,
    device: MergeDevice | None = None,
    keepers: Sequence[Keeper] = (),
) -> Iterator[Window]:
    """Cut what a plan has left after `start` into windows; `single` allows one if nothing is read twice."""
    # `keepers` are told of each window before and after.
    limit = None if single and plan.method.reads_once else WINDOW_BYTES
    first = start[0]
    while first < len(plan.tensors):
        end = _end(plan, first, limit)
        for keeper in keepers:
            end = keeper.end(first, end)
        for keeper in keepers:
            keeper.begin(first, end)
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
        for keeper in keepers:
            keeper.done(end)
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


class Keeper(Protocol):
    """What sees to it that files are there while a window of tensors is worked on."""

    def end(self, first: int, end: int) -> int:
        """Up to which tensor a window from `first` on may go, `end` at most."""

    def begin(self, first: int, end: int) -> None:
        """Make ready for tensors from `first` up to `end`."""

    def done(self, end: int) -> None:
        """Clear away after the tensors before `end`."""


class InterruptedMergeError(M2MError):
    """The user's system failed while reading or writing; what is finished stays for `resume`."""

    exit_code = 2


#: What can be done after it did.
GO_ON = "resume goes on where it stopped"


class PassRun:
    """The passes of one merge; everything before `start` has been written already.

    Attributes:
        core: The compiled plan.
        read_bytes: Tensor bytes read so far by passes that have ended.
        written_bytes: Tensor bytes written so far by passes that have ended.
        peak_anon_bytes: Most anonymous memory that was seen, if the system tells.
    """

    def __init__(
        self,
        plan: MergePlan,
        core: StreamPlan,
        staging: Staging,
        start: Position,
        note: Callable[[Position], None],
        progress: Progress | None,
    ) -> None:
        self.core = core
        self.read_bytes = self.written_bytes = 0
        self.peak_anon_bytes = anonymous_bytes()
        self._plan, self._staging, self._note, self._progress = plan, staging, note, progress
        self._resumed = bytes_before(plan, start)
        self._written_to = start
        self._stream: Stream | None = None
        self._writing = False
        self._polls = 0

    @property
    def position(self) -> Position:
        """Everything before it is written."""
        stream = self._stream
        return stream.position if stream is not None and self._writing else self._written_to

    def __call__(self, stream_pass: StreamPass, window: Window) -> None:
        """Run a pass over a window to its end; raises what `raise_failure` does."""
        writes = stream_pass.writes
        stream = Stream(
            window.core,
            stream_pass,
            threads=self._staging.threads,
            slot_bytes=self._staging.slot_bytes,
            start=self._written_to if writes else (window.first, 0),
            end=window.end,
        )
        self._stream, self._writing = stream, writes
        while not stream.wait(_POLL_SECONDS):
            self.report()
        raise_failure(self._plan, stream)
        self._written_to, self._stream, self._writing = self.position, None, False
        self.read_bytes += stream.read_bytes
        self.written_bytes += stream.written_bytes
        if writes:
            self.report()

    def stop(self) -> None:
        """End after the chunks under way, and note how far the work has come."""
        if self._stream is not None:
            self._stream.stop()
            self._stream.wait(_STOP_SECONDS)
        self._note(self.position)

    def report(self) -> None:
        """Tell how far the work has come, and note it now and then and between passes."""
        self._polls += 1
        now = anonymous_bytes()
        self.peak_anon_bytes = None if now is None else max(now, self.peak_anon_bytes or 0)
        if self._polls % _NOTES_EVERY == 0 or self._stream is None:
            self._note(self.position)
        if self._progress is not None:
            under_way = self._stream.written_bytes if self._stream is not None else 0
            done = self._resumed + self.written_bytes + under_way
            what = "merge" if self._writing or self._stream is None else "look"
            self._progress(done, self._plan.nbytes, what)


def raise_failure(plan: MergePlan, stream: Stream) -> None:
    """Raise what a worker of an ended stream met, if anything, with names in place of numbers."""
    try:
        failure = stream.failure
    except RuntimeError as error:  # not of the stream's own kinds: a CUDA device has failed
        raise InterruptedMergeError(f"{error}; {GO_ON}") from error
    if failure is None:
        return
    kind, number, model, element, code = failure
    tensor = plan.tensors[number]
    name = f"tensor {tensor.entry.name!r}"
    if kind == "write":
        where = f"{plan.outputs[model].name or 'output'}: {name}"
        raise InterruptedMergeError(f"{where}: cannot be written: {os.strerror(code)}; {GO_ON}")
    if kind == "changed":
        files = dict.fromkeys(str(file) for source in tensor.sources for file in files_of(source))
        raise CheckpointError(
            f"{', '.join(files)}: one of them changed while it was used: two passes over {name} met other "
            "values; start again when nothing writes to it"
        )
    file = " + ".join(map(str, files_of(tensor.sources[model]))) if kind != "overflow" else None
    if kind == "read":
        raise InterruptedMergeError(f"{file}: {name}: cannot be read: {os.strerror(code)}; {GO_ON}")
    if kind == "shrunk":
        raise CheckpointError(f"{file}: shrank during the merge: {name} is cut off")
    if kind == "nonfinite":
        raise CheckpointError(
            f"{file}: {name} is NaN or infinite at index {element}; allow_nonfinite lets it pass"
        )
    if kind == "factor":
        source = tensor.sources[model]
        product = product_of(source)
        assert product is not None
        magnitudes = source.magnitudes if isinstance(source, AdaptedTensor) else None
        factor = (product.left, product.right, magnitudes)[code]
        assert factor is not None
        raise CheckpointError(f"{factor.file}: {factor.name!r} is NaN or infinite at index {element}")
    if kind == "overflow":
        raise CheckpointError(
            f"{name}: the merged value at index {element} of {plan.outputs[model].name or 'the output'} is "
            f"too large for {tensor.entry.dtype}; choose a wider dtype, or allow_nonfinite"
        )
    if kind == "negative":
        raise CheckpointError(f"{file}: {name} is negative at index {element}; means of squares cannot be")
    first = files_of(tensor.sources[0])[0]
    raise CheckpointError(
        f"{file}: {name} ({tensor.entry.dtype}) differs at byte {element} from {first}; "
        f"only {', '.join(sorted(MERGEABLE))} are averaged, other types must be equal in all inputs"
    )
