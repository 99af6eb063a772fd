"""Walk forward passes through the network together, block by block.

A block's tensors are read from the experts once, merged for each candidate while its forward passes go
through, then dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from m2m.scoring.streamed.forward import Activations, Forward
from m2m.scoring.streamed.merger import Merger
from m2m.scoring.streamed.plan import Shares, Use, cut
from m2m.scoring.streamed.weights import Weight, Weights


class Walk:
    """The blocks, in the network's order, and what carries forward passes through them.

    `check` is called with the weights of operations that were not foreseen, and raises if they are too large.
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
        self.loaded = 0  #: blocks brought in so far

    def take(self, forwards: Sequence[Forward]) -> Iterator[tuple[int, Forward]]:
        """Carry forward passes, ordered by candidate, to their end.

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
