"""Inputs that lie elsewhere, brought just in time: the bytes that a window of tensors reads, while it does.

The plan says which bytes each tensor is made of, so that nothing is guessed: what a window needs is filled
into the mirrors before it begins, the next window's while it runs, and what no later one needs is given
back after it. So each byte comes once, unless a tensor is used again when there was no room to keep it.
"""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.mirror import CACHE_VARIABLE, PART_BYTES, THREADS, fill, remote_cache
from m2m.checkpoint.remote.session import check_origins, origin_of
from m2m.errors import ConfigError
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.tensors import reads_of
from m2m.support.arguments import argument
from m2m.support.units import format_bytes

#: Bytes that a window needs of what lies elsewhere, unless a tensor alone needs more.
_WINDOW_BYTES = 2**30
_POLL_SECONDS = 0.1
#: Of `fallocate`: the file keeps its length, and its bytes are given back.
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


@dataclass(eq=False)
class Piece:
    """Bytes of a mirror that are needed by the same tensors.

    Attributes:
        file: The mirror.
        begin: First byte.
        end: Byte after the last.
        users: Numbers of the tensors, ascending.
        held: Whether it is there or on its way.
    """

    file: Path
    begin: int
    end: int
    users: list[int] = field(default_factory=list)
    held: bool = False

    @property
    def nbytes(self) -> int:
        """Its length."""
        return self.end - self.begin

    def next_user(self, first: int) -> int | None:
        """The first tensor from `first` on that needs it, if there is one."""
        place = bisect_left(self.users, first)
        return self.users[place] if place < len(self.users) else None


class Supply:
    """Keeps a plan's windows supplied with what lies elsewhere, in a bounded cache.

    Attributes:
        fetched_bytes: Tensor bytes that were fetched.
        peak_bytes: Most bytes that were in the cache at a time.
    """

    def __init__(self, plan: MergePlan, room: int, crew: Crew, report: Callable[[], None]) -> None:
        """Look through a plan; `room` is the cache's bytes, `report` is called while waiting."""
        self.fetched_bytes = self.peak_bytes = 0
        self._plan, self._room, self._crew, self._report = plan, room, crew, report
        self._pieces = _pieces_of(plan)
        self._held: set[Piece] = set()
        self._held_bytes = 0
        self._coming: list[Future[None]] = []

    def end(self, first: int, end: int) -> int:
        """Up to which tensor a window from `first` on may go, `end` at most; one tensor always has room."""
        limit = min(_WINDOW_BYTES, self._room // 2)
        needed: set[Piece] = set()
        nbytes = 0
        for number in range(first, end):
            new = set(self._pieces[number]) - needed
            nbytes += sum(piece.nbytes for piece in new)
            if nbytes > limit and number > first:
                return number
            needed |= new
        return end

    def begin(self, first: int, end: int) -> None:
        """Wait until all that a window needs is there, and have what the next one needs brought."""
        needed = self._needed(first, end)
        self._make_room(sum(piece.nbytes for piece in needed if not piece.held), needed, first)
        self._fetch(needed)
        coming, self._coming = self._coming, []
        if end < len(self._plan.tensors):
            ahead = self._needed(end, self.end(end, len(self._plan.tensors)))
            self._fetch(self._fitting(ahead))
        self._wait(coming)
        check_origins(dict.fromkeys(piece.file for piece in needed))

    def done(self, end: int) -> None:
        """Give back what no tensor from `end` on needs."""
        self._drop(piece for piece in [*self._held] if piece.next_user(end) is None)

    def _needed(self, first: int, end: int) -> dict[Piece, None]:
        return {piece: None for number in range(first, end) for piece in self._pieces[number]}

    def _make_room(self, nbytes: int, needed: Iterable[Piece], first: int) -> None:
        # What is used again later goes first where that is furthest away.
        others = self._held.difference(needed)
        for piece in sorted(others, key=lambda piece: piece.next_user(first) or 0, reverse=True):
            if self._held_bytes + nbytes <= self._room:
                return
            self._drop([piece])

    def _fitting(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        free = self._room - self._held_bytes
        for piece in pieces:
            free -= 0 if piece.held else piece.nbytes
            if free < 0:
                return
            yield piece

    def _fetch(self, pieces: Iterable[Piece]) -> None:
        new = [piece for piece in pieces if not piece.held]
        for piece in new:
            piece.held = True
            self._held_bytes += piece.nbytes
        self._held.update(new)
        self.peak_bytes = max(self.peak_bytes, self._held_bytes)
        for file, begin, end in _requests(new):
            origin = origin_of(file)
            assert origin is not None
            self._coming.append(self._crew.submit(partial(fill, file, origin, begin, end)))
            self.fetched_bytes += end - begin

    def _wait(self, coming: list[Future[None]]) -> None:
        while True:
            found = wait(coming, _POLL_SECONDS, FIRST_EXCEPTION)
            for future in found.done:
                future.result()
            if not found.not_done:
                return
            self._report()

    def _drop(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            _give_back(piece.file, piece.begin, piece.nbytes)
            piece.held = False
            self._held.discard(piece)
            self._held_bytes -= piece.nbytes


@contextmanager
def supplied(
    plan: MergePlan, room: int, report: Callable[[], None], requests: int = THREADS
) -> Iterator[Supply | None]:
    """Supply a plan's windows to the end of the block from a cache of so many bytes, if any of it is far."""
    # `requests` are under way at a time.
    if _is_elsewhere(plan):
        with Crew(requests) as crew:
            yield Supply(plan, room, crew, report)
    else:
        yield None


def request_bytes(plan: MergePlan, requests: int) -> int:
    """Memory of the requests that are under way: what came, and what is still being put together."""
    return 2 * requests * PART_BYTES if _is_elsewhere(plan) else 0


def require_room(plan: MergePlan, room: int) -> None:
    """Refuse a cache that does not hold what one tensor is made of, before anything is fetched."""
    if not _is_elsewhere(plan):
        return
    for tensor, pieces in zip(plan.tensors, _pieces_of(plan), strict=True):
        nbytes = sum(piece.nbytes for piece in pieces)
        if nbytes > room:
            raise ConfigError(
                f"a cache of {format_bytes(room)} ({argument('cache_size')}, which workers of a machine "
                f"share) is too small: what lies elsewhere of {tensor.entry.name!r} takes "
                f"{format_bytes(nbytes)}"
            )


def _is_elsewhere(plan: MergePlan) -> bool:
    return any(origin_of(file) is not None for file in plan.input_files)


def _pieces_of(plan: MergePlan) -> list[list[Piece]]:
    # Ranges may overlap, as rows of a tensor that are used by themselves do: they are cut where others end.
    ranges: dict[Path, list[tuple[int, int, int]]] = {}
    for number, tensor in enumerate(plan.tensors):
        for info in (info for source in tensor.sources for info in reads_of(source)):
            if info.nbytes and origin_of(info.file) is not None:
                ranges.setdefault(info.file, []).append((info.offset, info.offset + info.nbytes, number))
    found: list[list[Piece]] = [[] for _ in plan.tensors]
    for file, needed in ranges.items():
        edges = sorted({edge for begin, end, _ in needed for edge in (begin, end)})
        pieces = [Piece(file, begin, end) for begin, end in pairwise(edges)]
        for begin, end, number in needed:
            for piece in pieces[bisect_left(edges, begin) : bisect_left(edges, end)]:
                if not piece.users or piece.users[-1] != number:
                    piece.users.append(number)
                    found[number].append(piece)
    return found


def _requests(pieces: Iterable[Piece]) -> Iterator[tuple[Path, int, int]]:
    # Pieces that follow each other are asked for together.
    runs: list[tuple[Path, int, int]] = []
    for piece in sorted(pieces, key=lambda piece: (str(piece.file), piece.begin)):
        if runs and runs[-1][0] == piece.file and runs[-1][2] == piece.begin:
            runs[-1] = (piece.file, runs[-1][1], piece.end)
        else:
            runs.append((piece.file, piece.begin, piece.end))
    for file, first, last in runs:
        for begin in range(first, last, PART_BYTES):
            yield file, begin, min(begin + PART_BYTES, last)


def _give_back(file: Path, begin: int, nbytes: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if _libc().fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, begin, nbytes) != 0:
            why = os.strerror(ctypes.get_errno())
            raise ConfigError(
                f"{remote_cache()}: its file system cannot give back parts of a file ({why}); name a folder "
                f"of another in {CACHE_VARIABLE}"
            )
    finally:
        os.close(descriptor)


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return libc
