"""Cut a network into blocks: runs of operations whose weights fit in memory together. Pure arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


@dataclass(frozen=True)
class Use(Generic[W]):
    """An operation that reads weights.

    Attributes:
        weights: The weights; all must be in memory at once.
        alive: Bytes of activations that wait while a forward pass is paused before it.
    """

    weights: frozenset[W]
    alive: int


def cut(uses: Sequence[Use[W]], sizes: Mapping[W, int], limit: int) -> list[list[W]]:
    """Group consecutive uses into blocks.

    Each block is made as long as the limit allows, then cut back, to no less than half its bytes, to where
    the fewest activations are alive: those are what has to wait for the other candidates.

    Args:
        uses: The uses, in the order of the forward pass.
        sizes: Bytes of each weight.
        limit: Most bytes of weights a block; no less than any one use takes.

    Returns:
        The weights of each block, in order of first use. One that is used in several blocks is in each.
    """
    blocks = []
    start = 0
    while start < len(uses):
        stop = _cut_back(uses, sizes, start, _furthest(uses, sizes, start, limit))
        blocks.append(list(dict.fromkeys(weight for use in uses[start:stop] for weight in use.weights)))
        start = stop
    return blocks


def recurring(blocks: Sequence[Sequence[W]]) -> list[W]:
    """Find the weights that several blocks use.

    Args:
        blocks: The weights of each block.

    Returns:
        Those in more than one.
    """
    places = Counter(weight for block in blocks for weight in block)
    return [weight for weight, count in places.items() if count > 1]


def _furthest(uses: Sequence[Use[W]], sizes: Mapping[W, int], start: int, limit: int) -> int:
    stop, held = start + 1, set(uses[start].weights)
    while stop < len(uses) and _total(held | uses[stop].weights, sizes) <= limit:
        held |= uses[stop].weights
        stop += 1
    return stop


def _cut_back(uses: Sequence[Use[W]], sizes: Mapping[W, int], start: int, stop: int) -> int:
    if stop == len(uses):
        return stop
    held: set[W] = set()
    whole = _total({weight for use in uses[start:stop] for weight in use.weights}, sizes)
    places = []
    for place in range(start + 1, stop + 1):
        held |= uses[place - 1].weights
        if 2 * _total(held, sizes) >= whole:
            places.append(place)
    return min(places, key=lambda place: (uses[place].alive, -place))


def _total(weights: set[W] | frozenset[W], sizes: Mapping[W, int]) -> int:
    return sum(sizes[weight] for weight in weights)
