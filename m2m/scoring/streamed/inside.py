"""How much memory an operation takes while it runs: it is taken apart, and what its parts make is watched."""

from __future__ import annotations

from typing import Any

from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from m2m.scoring.streamed.activations import Activations, storages
from m2m.scoring.streamed.coroutine import Operation, tensors_in
from m2m.scoring.streamed.spill_file import SpillFile


class _Parts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes composite operators apart, and watches the memory of what their parts make."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._known = known
        self._made: list[tuple[StorageWeakRef, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with self:
            result = func.decompose(*args, **kwargs or {})
        if result is NotImplemented:
            result = func(*args, **kwargs or {})
            self._watch(result)
        return result

    def _watch(self, result: Any) -> None:
        for storage in storages(tensors_in([result])):
            if storage._cdata not in self._known:
                self._known.add(storage._cdata)
                reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._made.append((reference, storage.nbytes()))
        self._made = [(made, size) for made, size in self._made if not _is_dead(made)]
        self.peak = max(self.peak, sum(size for _, size in self._made))


class MeasuredActivations(Activations):
    """Activations whose memory is watched within operations too.

    Args:
        spill: Where pages go.

    Attributes:
        peak: Most bytes at one time so far, of what an operation made and of what was there before it.
    """

    def __init__(self, spill: SpillFile) -> None:
        super().__init__(spill)
        self.peak = 0

    def perform(self, operation: Operation) -> Any:
        """Do an operation part by part.

        Args:
            operation: The operation, its operands in memory.

        Returns:
            Its result.
        """
        given = {storage._cdata for storage in storages(operation.tensors())}
        with _Parts(given) as parts:
            result = operation()
        self.peak = max(self.peak, self.resident + parts.peak)
        return result


def _is_dead(memory: StorageWeakRef) -> bool:
    dead: bool = memory.expired()  # type: ignore[no-untyped-call]
    return dead
