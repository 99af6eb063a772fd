"""Passes of methods that take each element alone: nearswap, fisher. One pass, which writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from m2m.merging.methods.spec import Method
from m2m.merging.stream.window import Window

if TYPE_CHECKING:
    from m2m._core import StreamPass


def elementwise_passes(method: Method | None, window: Window) -> Iterator[StreamPass]:
    """Write what an elementwise method makes of each element.

    Args:
        method: The method.
        window: The tensors.

    Yields:
        StreamPass: The pass that writes.
    """
    assert method is not None
    yield _fisher_pass(window) if method.name == "fisher" else _near_swap_pass(window)


def _near_swap_pass(window: Window) -> StreamPass:
    from m2m._core import NearSwapPass

    steps = [0.0 if tensor.copied else tensor.settings[0].number("t") for tensor in window.tensors]
    return NearSwapPass(window.core, window.first, steps=steps, allow_nonfinite=window.allow_nonfinite)


def _fisher_pass(window: Window) -> StreamPass:
    from m2m._core import FisherPass

    tensors: list[tuple[float, list[float]]] = [
        (0.0, [])
        if tensor.copied
        else (tensor.settings[0].number("floor"), tensor.settings[0].numbers("weight"))
        for tensor in window.tensors
    ]
    return FisherPass(window.core, window.first, tensors=tensors, allow_nonfinite=window.allow_nonfinite)
