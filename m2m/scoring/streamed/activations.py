"""What a paused forward pass holds: its tensors leave memory and come back when an operation needs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from m2m.scoring.streamed.coroutine import Operation, tensors_in
from m2m.scoring.streamed.spill_file import SpillFile

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
