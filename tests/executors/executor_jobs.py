"""Functions that worker processes import; no heavy imports, so that workers start fast."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from m2m.errors import ConfigError
from m2m.executors.local import Local
from m2m.executors.news import tell

_offset = 0
_kept: list[object] = []


def prepare(offset: int) -> None:
    global _offset
    _offset += offset


def square(number: int) -> tuple[int, int]:
    return number * number + _offset, os.getpid()


def wait_for(path: Path | None) -> None:
    while path is not None and not path.exists():
        time.sleep(0.001)


def folder(number: int) -> str:
    return os.getcwd()


def refuse(number: int) -> int:
    if number == 3:
        raise ConfigError("three is not allowed")
    return number


def tell_half(number: int) -> int:
    tell(number / 2)
    return number


def pass_on(number: int) -> list[int]:
    """Have two jobs done in this process, and tell what they tell."""
    halves = Local(1).run(tell_half, [number, number + 1], told=lambda at, news: tell((at, news)))
    return [found for _, found in halves]


def have_squared(numbers: list[int]) -> list[tuple[int, int]]:
    """Have numbers squared by as many workers as there may be."""
    return [found for _, found in Local(2).run(square, numbers)]


def count_to(number: int) -> Iterator[int]:
    yield from range(number)
    if number == 3:
        raise ConfigError("three is not allowed")


class AwkwardError(Exception):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def awkward(number: int) -> int:
    raise AwkwardError("salt", "pepper")


def vanish(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def take_semaphore(number: int) -> int:
    """Make what the system keeps until this process gives it back."""
    _kept.append(multiprocessing.Semaphore())
    return number


def crash(number: int) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return number


def leave(number: int) -> int:
    os._exit(7)


def unpicklable(number: int) -> object:
    return lambda: number


def fail_to_prepare() -> None:
    raise ConfigError("nothing to prepare with")


def compute_threads(number: int) -> tuple[str, int]:
    import torch

    assert "torch" in sys.modules
    return os.environ["OMP_NUM_THREADS"], torch.get_num_threads()


def interrupt_itself(number: int) -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    return signal.SIGINT in signal.sigpending()


def mark_and_wait(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    wait_for(folder / "go")
