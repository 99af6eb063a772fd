"""Work that is killed again and again, as a signal would, wherever it says how far it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

import pytest

from m2m.support.progress import Progress

Result = TypeVar("Result")


class Killed(BaseException):
    """Stands for a signal that arrives in the middle of a step."""


def killed_every(calls: int, work: Callable[[Progress], Result]) -> Result:
    """Do work that goes on where it was killed, killing it at every `calls`-th progress; it must end."""
    made = itertools.count(1)

    def interrupt(done: int, total: int, what: str) -> None:
        if next(made) % calls == 0:
            raise Killed

    for _ in range(20):
        try:
            return work(interrupt)
        except Killed:
            continue
    pytest.fail("work that is killed again and again makes no headway")
