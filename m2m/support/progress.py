"""How far long work is, and what its steps took: a callback (done, total, what), and seconds by step.

A callback with a method `say` also shows lines, between two stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

#: Called with (done, total, what is going on); a new total, or `done` going back, starts a new stage.
Progress = Callable[[int, int, str], None]


def nobody(done: int, total: int, what: str) -> None:
    """Progress that nobody is told."""


def say(progress: Progress, lines: Sequence[str]) -> None:
    """Show lines to whoever shows more than how far the work is."""
    show = getattr(progress, "say", None)
    if show is not None:
        show(lines)


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the block's wall seconds to the step's; a resumed run adds up."""
    start = time.monotonic()
    yield
    seconds[step] = round(seconds.get(step, 0.0) + time.monotonic() - start, 3)
