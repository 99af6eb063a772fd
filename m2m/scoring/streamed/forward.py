"""One candidate's pass of one batch through the network, and the activations that it holds.

It waits wherever a weight is not there. Meanwhile its activations may leave memory; each comes back when an
operation needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from m2m.scoring.streamed.coroutine import Coroutine, Operation, tensors_in
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.weights import Weight, Weights

#: Smaller tensors stay: Python code may look into them without an operation (`tolist`), and they cost little.
LEAST_SPILLED_BYTES = 64 * 1024


@dataclass
class Page:
    """The storage of one or more tensors that an operation made, as long as some tensor uses it."""

    memory: StorageWeakRef
    size: int  #: bytes
    place: int | None = None  #: where it lies in the spill file while it has no memory

    @classmethod
    def of(cls, storage: torch.UntypedStorage) -> Page:
        """Note a storage without keeping it alive."""
        return cls(StorageWeakRef(storage), storage.nbytes())  # type: ignore[no-untyped-call]

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
    """Does operations, and knows every page that they made."""

    def __init__(self, spill: SpillFile) -> None:
        self.resident = 0  #: bytes of the known pages that have memory, as of the last `tidy`
        self._spill = spill
        self._pages: dict[int, Page] = {}

    def do(self, operation: Operation, own: list[Page]) -> Any:
        """Do an operation, its operands back in memory; new pages are added to `own`, those of who asked."""
        given = {storage._cdata: storage for storage in storages(operation.tensors())}
        for address, storage in given.items():
            page = self._pages.get(address)
            if page is not None and page.place is not None:
                self._fetch(page, storage)
        result = self.perform(operation)
        for storage in storages(tensors_in([result])):
            # What shares memory with an operand is a view of it, or the operand itself.
            if storage._cdata not in given and storage._cdata not in self._pages and storage.nbytes():
                page = Page.of(storage)
                self._pages[storage._cdata] = page
                self.resident += page.size
                own.append(page)
        return result

    def perform(self, operation: Operation) -> Any:
        """Do an operation whose operands are in memory."""
        return operation()

    def tidy(self, own: list[Page]) -> None:
        """Forget the pages that no tensor uses any more."""
        for page in own:
            if page.is_dead:
                self._forget(page)
        own[:] = [page for page in own if not page.is_dead]

    def release(self, own: list[Page]) -> None:
        """Leave pages, in memory, to whoever still uses their tensors."""
        for page in own:
            storage = page.storage
            if storage is not None and page.place is not None:
                self._fetch(page, storage)
            self._forget(page)
        own.clear()

    def evict(self, own: list[Page]) -> None:
        """Move pages to disk, but for those that are small or there already."""
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
    """Walk over the storages of tensors; those without plain memory (sparse ones) are passed over."""
    for tensor in tensors:
        if tensor.layout is torch.strided:
            yield tensor.untyped_storage()


class Forward:
    """A batch on its way through the network with one candidate's weights; `work`: forward and judgement."""

    def __init__(self, candidate: int, place: int, work: Callable[[], Mapping[str, Tensor]]) -> None:
        self.candidate, self.place = candidate, place  # numbers of the candidate and of the batch
        self.pages: list[Page] = []
        #: The weights it waits for; empty before it starts and once it is done.
        self.needs: frozenset[Weight] = frozenset()
        self.done = False
        self._coroutine = Coroutine(work)
        self._operation: Operation | None = None

    @property
    def result(self) -> Mapping[str, Tensor]:
        """Each metric's value for each example of the batch, each [B]."""
        return self._coroutine.result

    def advance(
        self, weights: Weights, activations: Activations, bring: Callable[[frozenset[Weight]], bool]
    ) -> None:
        """Go on to the first operation whose weights, by `bring`, are not there, or to the end."""
        operation = self._operation or self._coroutine.start()
        self._operation = None
        while operation is not None:
            self.needs = weights.needed(operation)
            if not bring(self.needs):
                self._operation = operation
                return
            operation = self._do(operation, activations)
        self.needs, self.done = frozenset(), True
        activations.release(self.pages)

    def close(self) -> None:
        """Give up, wherever it is."""
        self._operation = None
        self._coroutine.close()

    def _do(self, operation: Operation, activations: Activations) -> Operation | None:
        try:
            value = activations.do(operation, self.pages)
        except Exception as error:
            return self._coroutine.fail(error)
        return self._coroutine.answer(value)
