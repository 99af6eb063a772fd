"""Layers: which layer a tensor belongs to, and how slices stack layers of the inputs into the output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from m2m.errors import RecipeError

#: A layer index is the first number that is a whole part of a tensor's name
#: (`model.layers.7.mlp.up_proj.weight`, `h.7.ln_1.bias`).
_LAYER = re.compile(r"^((?:[^.]*\.)*?)(\d+)((?:\.|$).*)$")
#: Names of tensors before the first layer; all others outside the layers come after the last.
_BEFORE = re.compile(r"embed|wte|wpe|patch", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """A tensor's place in its stack of layers."""

    #: The layer, from 0.
    index: int
    #: Layers in the stack.
    count: int

    @property
    def t(self) -> float:
        """Place on a gradient: 0 at the first layer, 1 at the last; 1 in a stack of one, as in mergekit."""
        return self.index / (self.count - 1) if self.count > 1 else 1.0


def split_layer(tensor: str) -> tuple[str, int, str] | None:
    """What is before a tensor name's layer index, the index, what is after it; None outside the layers."""
    match = _LAYER.match(tensor)
    return (match[1], int(match[2]), match[3]) if match and match[1] else None


def find_layers(names: Iterable[str]) -> dict[str, Layer]:
    """The layer of every tensor that is in one."""
    # Every stack (`encoder.layers.`, `decoder.layers.`) counts on its own.
    parts = {name: part for name in names if (part := split_layer(name))}
    counts: dict[str, int] = {}
    for stack, index, _ in parts.values():
        counts[stack] = max(counts.get(stack, 0), index + 1)
    places = {(stack, index): Layer(index, counts[stack]) for stack, index, _ in parts.values()}
    return {name: places[stack, index] for name, (stack, index, _) in parts.items()}


class OutputTensor(NamedTuple):
    """One tensor of the merged model."""

    #: Its name.
    name: str
    #: The slice of the recipe it comes from; 0 where the recipe has none.
    slice_index: int
    #: The name of the input tensor in every source of that slice.
    inputs: tuple[str, ...]
    #: Its place in the slice, None outside the layers.
    layer: Layer | None


def lay_out(
    names: Sequence[str], ranges: Sequence[Sequence[tuple[int, int]]], n_inputs: int
) -> list[OutputTensor]:
    """Lay out the output of one module: whole, or of slices where there are ranges of their sources."""
    if ranges[0]:
        return stack_slices(names, ranges)
    layers = find_layers(names)
    return [OutputTensor(name, 0, (name,) * n_inputs, layers.get(name)) for name in names]


def stack_slices(names: Sequence[str], ranges: Sequence[Sequence[tuple[int, int]]]) -> list[OutputTensor]:
    """Lay out the output of slices, from the donor's tensor names and `[start, end)` of their sources."""
    # Tensors before the layers (embeddings) come from the first slice's sources, those after them from the
    # last slice's.
    layers = find_layers(names)
    stacks = {part[0] for name in layers if (part := split_layer(name))}
    if len(stacks) != 1:
        raise RecipeError(
            f"slices need a model with one stack of layers, got {sorted(stacks)}: write them under modules, "
            "by the part of the model whose layers they are"
        )
    stack = stacks.pop()
    by_layer: dict[int, list[str]] = {}
    for name, layer in layers.items():
        by_layer.setdefault(layer.index, []).append(name.removeprefix(f"{stack}{layer.index}"))
    outside = [name for name in names if name not in layers]
    before = [name for name in outside if _BEFORE.search(name)]
    after = [name for name in outside if not _BEFORE.search(name)]
    last = len(ranges) - 1
    output = [OutputTensor(name, 0, (name,) * len(ranges[0]), None) for name in before]
    position = 0
    for slice_index, sources in enumerate(ranges):
        length = sources[0][1] - sources[0][0]
        for offset in range(length):
            inputs = [start + offset for start, _ in sources]
            for rest in _rests(by_layer, inputs, slice_index):
                sourced = tuple(f"{stack}{index}{rest}" for index in inputs)
                place = Layer(offset, length)
                output.append(OutputTensor(f"{stack}{position}{rest}", slice_index, sourced, place))
            position += 1
    return output + [OutputTensor(name, last, (name,) * len(ranges[last]), None) for name in after]


def _rests(by_layer: dict[int, list[str]], inputs: list[int], slice_index: int) -> list[str]:
    # The tensors of a layer, the same for all sources, without stack and index.
    for index in inputs:
        if index not in by_layer:
            raise RecipeError(
                f"slices[{slice_index}] wants layer {index}, the model has {len(by_layer)} layers"
            )
        if sorted(by_layer[index]) != sorted(by_layer[inputs[0]]):
            raise RecipeError(f"slices[{slice_index}] merges layers {inputs}, which have different tensors")
    return by_layer[inputs[0]]
