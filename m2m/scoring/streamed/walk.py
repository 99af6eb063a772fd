"""Forward passes go through the blocks together, and share a memory budget with one block's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from m2m.errors import InputError
from m2m.scoring.streamed.activations import Activations
from m2m.scoring.streamed.blocks import Use, cut
from m2m.scoring.streamed.coroutine import PAUSED_BYTES
from m2m.scoring.streamed.forward import Forward
from m2m.scoring.streamed.rehearsal import Rehearsal
from m2m.scoring.streamed.weights import Merger, Weight, Weights
from m2m.support.units import format_bytes

#: Memory that operators and the interpreter take for themselves, besides tensors.
SCRATCH_BYTES = 4 * 1024 * 1024
#: Each paused forward pass is a thread.
_MOST_PAUSED = 4096


@dataclass(frozen=True)
class Shares:
    """How a budget is spent.

    Attributes:
        paused: Forward passes under way at a time.
        block: Most bytes of one block's weights, counted once.
        waiting: Bytes of activations of paused forward passes that may stay in memory; the rest goes to disk.
    """

    paused: int
    block: int
    waiting: int


def check_operation(experts: int, memory: int, weights: frozenset[Weight]) -> None:
    """Refuse a budget that the weights of a single operation exceed.

    Args:
        experts: Number of experts N.
        memory: The budget, in bytes.
        weights: The weights that the operation reads.

    Raises:
        InputError: If N experts' tensors and the merged ones take more.
    """
    needed = (experts + 1) * sum(weight.nbytes for weight in weights)
    if needed + SCRATCH_BYTES > memory:
        names = ", ".join(sorted(weight.name for weight in weights))
        raise InputError(
            f"a memory budget of {format_bytes(memory)} is too small for the block of {names}: {experts} "
            f"experts' tensors and the merged one need at least {format_bytes(needed + SCRATCH_BYTES)}"
        )


def share(memory: int, experts: int, passes: int, seen: Rehearsal) -> Shares:
    """Share a budget.

    Shorter blocks cost next to nothing as long as all activations stay in memory; once they don't, each block
    writes and reads those that don't fit, b(s) ∝ (L − s)/(R − s) for L bytes of activations, of which s stay,
    and R bytes for both. That falls with s if L ≤ R and grows otherwise, so as many stay as fit, or none.

    Args:
        memory: The budget, in bytes.
        experts: Number of experts N.
        passes: Forward passes to do: candidates × batches.
        seen: What one forward pass needs.

    Returns:
        The shares.

    Raises:
        InputError: If the budget is too small for one forward pass.
    """
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
    kept = min(waiting, room - least_block) if waiting <= room else 0
    return Shares(paused, (room - kept) // (experts + 1), kept)


class Walk:
    """The blocks, and what carries forward passes through them.

    Args:
        blocks: The weights of each block, in the order of the network.
        shares: How large blocks and waiting activations may be.
        weights: The module's weights.
        activations: Does the operations.
        merger: Brings weights in.
        check: Called with the weights of an operation that was not foreseen; raises if they are too large.

    Attributes:
        loaded: Blocks brought in so far.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Weight]],
        shares: Shares,
        weights: Weights,
        activations: Activations,
        merger: Merger,
        check: Callable[[frozenset[Weight]], None],
    ) -> None:
        self._blocks = [frozenset(block) for block in blocks]
        self._shares = shares
        self._weights, self._activations, self._merger = weights, activations, merger
        self._check = check
        self.loaded = 0

    def take(self, forwards: Sequence[Forward]) -> Iterator[tuple[int, Forward]]:
        """Carry forward passes to their end.

        Args:
            forwards: The forward passes, ordered by candidate.

        Yields:
            tuple[int, Forward]: How many (block, forward pass) are done, of blocks × forward passes; and the
                forward pass that has just gone as far as it can.
        """
        count = len(forwards)
        for place, block in enumerate(self._blocks):
            for at, forward in enumerate(self._visit(block, forwards), start=1):
                yield place * count + at, forward
            later = self._blocks[place + 1 :]
            while strays := [f for f in forwards if not f.done and not any(f.needs <= b for b in later)]:
                for forward in self._visit(self._unforeseen(strays), strays):
                    yield (place + 1) * count, forward
        self._merger.forget()

    def _unforeseen(self, strays: Sequence[Forward]) -> frozenset[Weight]:
        # Weights that a path needs which the rehearsal didn't take (say, an expert layer that routing chose).
        for stray in strays:
            self._check(stray.needs)
        uses = [Use(stray.needs, 0) for stray in strays]
        return frozenset(cut(uses, {w: w.nbytes for use in uses for w in use.weights}, self._shares.block)[0])

    def _visit(self, block: frozenset[Weight], forwards: Sequence[Forward]) -> Iterator[Forward]:
        ready = [f for f in forwards if not f.done and f.needs <= block]
        if not ready:
            return
        self._merger.load(block, {forward.candidate for forward in ready})
        self.loaded += 1
        merged = None
        for forward in ready:
            with torch.inference_mode():  # not while others have their turn
                if forward.candidate != merged:
                    merged = forward.candidate
                    self._merger.merge(merged)
                self._advance(forward)
            yield forward

    def _advance(self, forward: Forward) -> None:
        forward.advance(self._weights, self._activations, self._merger.present.issuperset)
        self._activations.tidy(forward.pages)
        if self._activations.resident > self._shares.waiting:
            self._activations.evict(forward.pages)
