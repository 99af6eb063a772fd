"""Which passes belong to which kind of method."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, cast

from m2m.merging.methods.spec import Method
from m2m.merging.stream.window import Passes, Window

if TYPE_CHECKING:
    from m2m._core import StreamPass

#: Module and function by `Method.kind`; imported when a merge needs them.
_BY_KIND = {
    "weights": ("methods.weight_passes", "weight_passes"),
    "gram": ("methods.gram_passes", "gram_passes"),
    "elementwise": ("methods.elementwise_passes", "elementwise_passes"),
    "selection": ("methods.selection", "selection_passes"),
}


def passes_over(method: Method | None, window: Window) -> Iterator[StreamPass]:
    """Give the passes of a method over a window.

    Args:
        method: The method; none for plain weights.
        window: The tensors.

    Returns:
        The passes, in order: all but the last look, the last writes.
    """
    module, name = _BY_KIND["weights" if method is None else method.kind]
    passes = cast("Passes", getattr(import_module(f"m2m.merging.{module}"), name))
    return passes(method, window)
