"""How far long work is: a callback that is told (done, total, what)."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (done, total, what is going on); a new total, or `done` going back, starts a new stage.
Progress = Callable[[int, int, str], None]


def nobody(done: int, total: int, what: str) -> None:
    """Progress that nobody is told."""
