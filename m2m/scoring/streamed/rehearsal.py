"""A first forward pass over weights of zeros: which operations need which weights, and how much memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from m2m.scoring.streamed.coroutine import Operation, tensors_in
from m2m.scoring.streamed.forward import LEAST_SPILLED_BYTES, Activations, Forward, Page, storages
from m2m.scoring.streamed.plan import Needs
from m2m.scoring.streamed.spill_file import SpillFile
from m2m.scoring.streamed.weights import Weight, Weights


def rehearse(
    seen: Needs,
    forward: Forward,
    weights: Weights,
    activations: MeasuredActivations,
    check: Callable[[frozenset[Weight]], None],
) -> None:
    """Add to `seen` what a forward pass needs whose weights are zeros, there only while they are read.

    The real module code runs on a real batch, so whatever it looks at (masks, lengths) is as it will be; only
    paths that depend on the values of weights may differ later. `check` is called with the weights of each
    operation before they get memory, and raises if they are too large.
    """
    known = frozenset(weight for use in seen.uses for weight in use.weights)
    present: frozenset[Weight] = frozenset()

    def bring(needed: frozenset[Weight]) -> bool:
        nonlocal present
        _drop(present)
        activations.tidy(forward.pages)
        seen.copied = max(seen.copied, *(page.size for page in forward.pages), 0)
        if needed:
            check(needed)
            small = sum(page.size for page in forward.pages if page.size < LEAST_SPILLED_BYTES)
            seen.note(needed, activations.resident, small, known)
        _fill_with_zeros(needed)
        present = needed
        return True

    try:
        forward.advance(weights, activations, bring)
    finally:
        _drop(present)
    seen.peak = max(seen.peak, activations.peak)


class MeasuredActivations(Activations):
    """Activations whose memory is watched within operations too, by the parts that they are made of."""

    def __init__(self, spill: SpillFile) -> None:
        super().__init__(spill)
        self.peak = 0  #: most bytes at one time, of what an operation made and of what was there before it

    def perform(self, operation: Operation) -> Any:
        """Do an operation part by part."""
        given = {storage._cdata for storage in storages(operation.tensors())}
        with _Parts(given) as parts:
            result = operation()
        self.peak = max(self.peak, self.resident + parts.peak)
        return result


class _Parts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes composite operators apart, and watches the memory of what their parts make."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._known = known
        self._made: list[Page] = []

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
                self._made.append(Page.of(storage))
        self._made = [page for page in self._made if not page.is_dead]
        self.peak = max(self.peak, sum(page.size for page in self._made))


def _fill_with_zeros(weights: frozenset[Weight]) -> None:
    for weight in weights:
        weight.allocate()
        with torch.no_grad():
            weight.live.zero_()


def _drop(weights: frozenset[Weight]) -> None:
    for weight in weights:
        weight.drop()
