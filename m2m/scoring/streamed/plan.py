"""Plan a streamed walk: cut the network into blocks, and share a memory budget. Pure arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from m2m.errors import InputError
from m2m.scoring.streamed.coroutine import PAUSED_BYTES
from m2m.scoring.streamed.weights import Weight
from m2m.support.units import format_bytes

#: Memory that operators and the interpreter take for themselves, besides tensors.
SCRATCH_BYTES = 4 * 1024 * 1024
#: Each paused forward pass is a thread.
_MOST_PAUSED = 4096

W = TypeVar("W", bound=Hashable)


@dataclass(frozen=True)
class Use(Generic[W]):
    """An operation that reads weights, all of which must be in memory at once."""

    weights: frozenset[W]
    alive: int  #: bytes of activations that wait while a forward pass is paused before it


@dataclass
class Needs:
    """What forward passes will need, in bytes."""

    uses: list[Use[Weight]] = field(default_factory=list)  #: the operations that read weights, in order
    peak: int = 0  #: activations that one forward pass has at one time
    small: int = 0  #: those of its activations that stay in memory while it is paused
    waiting: int = 0  #: the others, which can be moved to disk meanwhile
    largest: int = 0  #: weights that one operation reads
    copied: int = 0  #: one tensor: operators may copy an operand, to another layout or type

    def note(self, needed: frozenset[Weight], alive: int, small: int, known: frozenset[Weight]) -> None:
        """Note an operation; its `known` weights have been placed for an earlier task already."""
        self.small = max(self.small, small)
        self.waiting = max(self.waiting, alive - small)
        self.largest = max(self.largest, sum(weight.nbytes for weight in needed))
        self.copied = max(self.copied, *(weight.nbytes for weight in needed))
        if not needed <= known:
            self.uses.append(Use(needed - known, alive - small))


@dataclass(frozen=True)
class Shares:
    """How a budget is spent."""

    paused: int  #: forward passes under way at a time
    block: int  #: most bytes of one block's weights, counted once
    waiting: int  #: bytes of paused passes' activations that may stay in memory; the rest goes to disk


def cut(uses: Sequence[Use[W]], sizes: Mapping[W, int], limit: int) -> list[list[W]]:
    """Group consecutive uses into blocks of at most `limit` bytes: each one's weights, by first use."""
    # Each block is made as long as the limit allows, then cut back, to no less than half its bytes, to where
    # the fewest activations are alive: those are what has to wait for the other candidates.
    blocks = []
    start = 0
    while start < len(uses):
        stop = _cut_back(uses, sizes, start, _furthest(uses, sizes, start, limit))
        blocks.append(list(dict.fromkeys(weight for use in uses[start:stop] for weight in use.weights)))
        start = stop
    return blocks


def recurring(blocks: Sequence[Sequence[W]]) -> list[W]:
    """Find the weights that several blocks use."""
    places = Counter(weight for block in blocks for weight in block)
    return [weight for weight, count in places.items() if count > 1]


def check_operation(experts: int, memory: int, weights: frozenset[Weight]) -> None:
    """Refuse a budget, in bytes, that the weights of a single operation exceed in N experts and merged."""
    needed = (experts + 1) * sum(weight.nbytes for weight in weights)
    if needed + SCRATCH_BYTES > memory:
        names = ", ".join(sorted(weight.name for weight in weights))
        raise InputError(
            f"a memory budget of {format_bytes(memory)} is too small for the block of {names}: {experts} "
            f"experts' tensors and the merged one need at least {format_bytes(needed + SCRATCH_BYTES)}"
        )


def share(memory: int, experts: int, passes: int, seen: Needs) -> Shares:
    """Share a budget, in bytes, among one block's weights, the running forward pass and the paused ones."""
    least_block = (experts + 1) * seen.largest
    fixed = SCRATCH_BYTES + seen.peak + seen.copied
    each = PAUSED_BYTES + seen.small
    if fixed + each + least_block > memory:
        raise InputError(
            f"a memory budget of {format_bytes(memory)} is too small: one batch's activations take up to "
            f"{format_bytes(seen.peak)}, a copy of the largest tensor {format_bytes(seen.copied)}, the "
            f"largest operation's weights in {experts} experts and the merged model "
            f"{format_bytes(least_block)}; wanted at least {format_bytes(fixed + each + least_block)}"
        )
    most = max(1, min((memory - fixed - least_block) // each, memory // 2 // each, _MOST_PAUSED))
    paused = min(passes, most)
    room = memory - fixed - paused * each
    waiting = paused * seen.waiting
    # Shorter blocks cost next to nothing as long as all activations stay in memory; once they don't, each
    # block writes and reads those that don't fit, b(s) ∝ (L − s)/(R − s) for L bytes of activations, of which
    # s stay, and R bytes for both. That falls with s if L ≤ R, else grows: as many stay as fit, or none.
    kept = min(waiting, room - least_block) if waiting <= room else 0
    return Shares(paused, (room - kept) // (experts + 1), kept)


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
