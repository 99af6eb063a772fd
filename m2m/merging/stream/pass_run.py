"""Run compiled passes one after another and watch over them: progress, journal, memory, Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from m2m.merging.plan.plan import MergePlan, bytes_before
from m2m.merging.stream.failures import raise_failure
from m2m.merging.stream.memory import Staging, anonymous_bytes
from m2m.merging.stream.window import Window
from m2m.merging.stream.work_folder import Position
from m2m.support.progress import Progress

if TYPE_CHECKING:
    from m2m._core import Stream, StreamPass, StreamPlan


_POLL_SECONDS = 0.1
_NOTES_EVERY = 5
#: Chunks take milliseconds; a disk that hangs for longer is not waited for.
_STOP_SECONDS = 1.0


class PassRun:
    """The passes of one merge.

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
        """Make ready.

        Args:
            plan: The plan.
            core: The same, compiled.
            staging: Workers and their buffers.
            start: Everything before it has been written already.
            note: Is told now and then how far the work has come.
            progress: Is told several times a second.
        """
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
        """Run a pass over a window to its end.

        Args:
            stream_pass: The pass.
            window: The tensors.

        Raises:
            CheckpointError: If an input shrank, changed, is not finite, or differs where it must not.
            InterruptedMergeError: If the system failed to read or write.
        """  # noqa: DOC502 - raised by what is called
        from m2m._core import Stream

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
