"""Activations of paused forward passes, in memory or in a file on disk."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from m2m.errors import InputError
from m2m.scoring.streamed.coroutine import Operation, tensors_in
from m2m.support.units import format_bytes


class SpillFile:
    """Keeps storages' bytes on disk; a place that was freed is used again by the next one of its length.

    Args:
        folder: Folder of the file, best not in memory (tmpfs); None for the system's temporary folder.

    Attributes:
        written: Bytes written so far.

    Raises:
        InputError: If no file can be made there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir())
        self.written = 0
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
        """Write a storage's bytes.

        Args:
            storage: The storage; it keeps its memory.

        Returns:
            Where they lie.

        Raises:
            InputError: If the disk is full.
        """
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
        """Read bytes back; they stay in the file.

        Args:
            storage: A storage of the length that was put.
            place: Where they lie.
        """
        _move(_read_at, self._file.fileno(), _memory(storage), place)

    def free(self, place: int, size: int) -> None:
        """Let a place be used again.

        Args:
            place: The place.
            size: Bytes that were put there.
        """
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


#: Smaller tensors stay: Python code may look into them without an operation (`tolist`), and they cost little.
LEAST_SPILLED_BYTES = 64 * 1024


@dataclass
class Page:
    """The memory of one or more tensors that an operation made.

    Attributes:
        memory: The storage, as long as some tensor still uses it.
        size: Its length in bytes.
        place: Where it lies in the spill file while it has no memory.
    """

    memory: StorageWeakRef
    size: int
    place: int | None = None

    @property
    def is_dead(self) -> bool:
        """Whether no tensor uses it any more."""
        dead: bool = self.memory.expired()  # type: ignore[no-untyped-call]
        return dead

    @property
    def storage(self) -> torch.UntypedStorage | None:
        """The storage; None when no tensor uses it any more."""
        found: torch.UntypedStorage | None = torch.UntypedStorage._new_with_weak_ptr(self.memory.cdata)
        return found


class Activations:
    """Does operations, and knows every page that they made.

    Args:
        spill: Where pages go.

    Attributes:
        resident: Bytes of the known pages that have memory, as of the last `tidy`.
    """

    def __init__(self, spill: SpillFile) -> None:
        self.resident = 0
        self._spill = spill
        self._pages: dict[int, Page] = {}

    def do(self, operation: Operation, own: list[Page]) -> Any:
        """Do an operation, with its operands back in memory.

        Args:
            operation: The operation.
            own: The pages of who asked for it; new ones are added.

        Returns:
            The operation's result.
        """
        given = {storage._cdata: storage for storage in storages(operation.tensors())}
        for address, storage in given.items():
            page = self._pages.get(address)
            if page is not None and page.place is not None:
                self._fetch(page, storage)
        result = self.perform(operation)
        for storage in storages(tensors_in([result])):
            # What shares memory with an operand is a view of it, or the operand itself.
            if storage._cdata not in given and storage._cdata not in self._pages and storage.nbytes():
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                page = Page(reference, storage.nbytes())
                self._pages[storage._cdata] = page
                self.resident += page.size
                own.append(page)
        return result

    def perform(self, operation: Operation) -> Any:
        """Do an operation whose operands are in memory.

        Args:
            operation: The operation.

        Returns:
            Its result.
        """
        return operation()

    def tidy(self, own: list[Page]) -> None:
        """Forget the pages that no tensor uses any more.

        Args:
            own: The pages to look at; shortened.
        """
        for page in own:
            if page.is_dead:
                self._forget(page)
        own[:] = [page for page in own if not page.is_dead]

    def release(self, own: list[Page]) -> None:
        """Leave pages, in memory, to whoever still uses their tensors.

        Args:
            own: The pages; emptied.
        """
        for page in own:
            storage = page.storage
            if storage is not None and page.place is not None:
                self._fetch(page, storage)
            self._forget(page)
        own.clear()

    def evict(self, own: list[Page]) -> None:
        """Move pages to disk.

        Args:
            own: The pages; those that are small or there already are left alone.
        """
        for page in own:
            storage = page.storage
            if storage is not None and page.place is None and page.size >= LEAST_SPILLED_BYTES:
                page.place = self._spill.put(storage)
                storage.resize_(0)
                self.resident -= page.size

    def _forget(self, page: Page) -> None:
        del self._pages[page.memory.cdata]
        if page.place is None:
            self.resident -= page.size
        else:
            self._spill.free(page.place, page.size)

    def _fetch(self, page: Page, storage: torch.UntypedStorage) -> None:
        assert page.place is not None
        storage.resize_(page.size)
        self._spill.get(storage, page.place)
        self._spill.free(page.place, page.size)
        page.place = None
        self.resident += page.size


def storages(tensors: Iterator[Tensor]) -> Iterator[torch.UntypedStorage]:
    """Walk over the memory of tensors.

    Args:
        tensors: The tensors; those without plain memory (sparse ones) are passed over.

    Yields:
        Their storages.
    """
    for tensor in tensors:
        if tensor.layout is torch.strided:
            yield tensor.untyped_storage()
