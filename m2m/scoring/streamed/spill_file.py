"""Tensors' bytes that wait on disk."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from m2m.errors import InputError
from m2m.support.units import format_bytes


class SpillFile:
    """Keeps storages' bytes in a file without a name, gone when the process is; freed places are used again.

    The folder is best not in memory (tmpfs); None is the system's temporary folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir())
        self.written = 0  #: bytes, so far
        self._end = 0
        self._free: defaultdict[int, list[int]] = defaultdict(list)
        try:
            self._file = tempfile.TemporaryFile(dir=self.folder, prefix="m2m-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise InputError(f"spill folder {self.folder}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, storage: torch.UntypedStorage) -> int:
        """Write a storage's bytes, and return where they lie; an InputError if the disk is full."""
        size = storage.nbytes()
        place = self._free[size].pop() if self._free[size] else self._end
        try:
            _move(os.pwrite, self._file.fileno(), _memory(storage), place)
        except OSError as error:
            raise InputError(
                f"spill folder {self.folder}: {error.strerror}, with {format_bytes(self._end)} written"
            ) from error
        self._end = max(self._end, place + size)
        self.written += size
        return place

    def get(self, storage: torch.UntypedStorage, place: int) -> None:
        """Read bytes back into a storage of their length; they stay in the file."""
        _move(_read_at, self._file.fileno(), _memory(storage), place)

    def free(self, place: int, size: int) -> None:
        """Let the place of `size` bytes be used again."""
        self._free[size].append(place)


def _memory(storage: torch.UntypedStorage) -> memoryview:
    # Not through numpy: a storage that numpy has seen can't be resized any more.
    return memoryview((ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())).cast("B")


def _read_at(file: int, memory: memoryview, place: int) -> int:
    return os.preadv(file, [memory], place)


def _move(call: Callable[[int, memoryview, int], int], file: int, memory: memoryview, place: int) -> None:
    # The system moves at most 2 GiB at a time.
    done = 0
    while done < len(memory):
        count = call(file, memory[done:], place + done)
        if not count:
            raise OSError(0, "the spill file was cut short")
        done += count
