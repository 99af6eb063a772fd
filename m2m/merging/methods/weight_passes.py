"""Passes of methods whose merging weights are known before anything is read: one pass, which writes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from m2m.merging.methods.spec import Method
from m2m.merging.plan.tensors import WeightBlock
from m2m.merging.stream.window import Window

if TYPE_CHECKING:
    from m2m._core import MergePass, StreamPass

#: Stands for the weights of a copied tensor, which has none.
NO_BLOCK = -1


def weight_passes(method: Method | None, window: Window) -> Iterator[StreamPass]:
    """Write weighted sums with the plan's own weights.

    Args:
        method: Not used: the weights say everything.
        window: The tensors.

    Yields:
        StreamPass: The pass that writes.
    """
    numbers = [NO_BLOCK if tensor.block is None else tensor.block for tensor in window.tensors]
    yield merge_pass(window, numbers, window.blocks)


def merge_pass(window: Window, numbers: Sequence[int], blocks: Sequence[WeightBlock]) -> MergePass:
    """Make the pass that writes weighted sums with one weight an input.

    Args:
        window: The tensors.
        numbers: Which block holds each tensor's weights; `NO_BLOCK` for a copied one.
        blocks: The weights. each [M, N]

    Returns:
        The pass.
    """
    from m2m._core import MergePass

    return MergePass(
        window.core,
        window.first,
        block_of=array("q", numbers),
        block_inputs=array("q", [len(block[0]) for block in blocks]),
        weights=array("d", chain.from_iterable(chain.from_iterable(blocks))),
        allow_nonfinite=window.allow_nonfinite,
        device=window.device,
    )
