"""Progress as both programs show it, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from m2m.support.progress import Progress, nobody
from m2m.support.units import format_bytes

#: Seconds between two lines when stderr is not a terminal.
LINE_EVERY_S = 15.0


def progress(*, quiet: bool, unit: str = "") -> Progress:
    """Make a progress callback that fits where stderr goes."""
    if quiet:
        return nobody
    return _Bar(unit) if sys.stderr.isatty() else _Lines(unit)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"m2m: {line}", file=sys.stderr, flush=True)


class _Stage:
    """Tells when one stage ends and the next begins."""

    def __init__(self) -> None:
        self._total = self._done = -1

    def is_new(self, done: int, total: int) -> bool:
        new = total != self._total or done < self._done
        self._total, self._done = total, done
        return new


class _Bar:
    """tqdm's bar, one a stage."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stage = _Stage()
        self._bar: Any = None

    def say(self, lines: Sequence[str]) -> None:
        if self._bar is not None:
            self._bar.close()
        _say(lines)

    def __call__(self, done: int, total: int, what: str) -> None:
        from tqdm import tqdm

        if self._stage.is_new(done, total):
            if self._bar is not None:
                self._bar.close()
            self._bar = tqdm(
                total=total,
                initial=done,
                file=sys.stderr,
                dynamic_ncols=True,
                unit=self._unit or "it",
                unit_scale=self._unit == "B",
                unit_divisor=1024,
            )
        self._bar.set_description_str(what, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()


class _Lines:
    """A line when a stage begins and ends, and every `LINE_EVERY_S` seconds in between."""

    def __init__(self, unit: str) -> None:
        self._write = format_bytes if unit == "B" else str
        self._stage = _Stage()
        self._began = self._said = 0.0
        self._first = 0

    def say(self, lines: Sequence[str]) -> None:
        _say(lines)

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        new = self._stage.is_new(done, total)
        if new:
            self._began, self._first = now, done
        if new or done >= total or now - self._said >= LINE_EVERY_S:
            self._said = now
            left = self._left(now, done, total)
            print(f"m2m: {what} {self._write(done)}/{self._write(total)}{left}", file=sys.stderr, flush=True)

    def _left(self, now: float, done: int, total: int) -> str:
        advanced = done - self._first
        if not advanced or done >= total:
            return ""
        seconds = round((now - self._began) * (total - done) / advanced)
        return f", {seconds // 60}:{seconds % 60:02d} left"
