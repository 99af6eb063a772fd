"""A first forward pass over weights of zeros: which operations need which weights, and how much memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from m2m.scoring.streamed.activations import LEAST_SPILLED_BYTES
from m2m.scoring.streamed.blocks import Use
from m2m.scoring.streamed.forward import Forward
from m2m.scoring.streamed.inside import MeasuredActivations
from m2m.scoring.streamed.weights import Weight, Weights


@dataclass
class Rehearsal:
    """What forward passes will need.

    Attributes:
        uses: The operations that read weights, in order.
        peak: Most bytes of activations that one forward pass has at one time.
        small: Most bytes of its activations that stay in memory while it is paused.
        waiting: Most bytes of the others, which can be moved to disk meanwhile.
        largest: Most bytes of weights that one operation reads.
        copied: Most bytes of one tensor: operators may copy an operand, to another layout or type.
    """

    uses: list[Use[Weight]] = field(default_factory=list)
    peak: int = 0
    small: int = 0
    waiting: int = 0
    largest: int = 0
    copied: int = 0

    def note(self, needed: frozenset[Weight], alive: int, small: int, known: frozenset[Weight]) -> None:
        """Note an operation that reads weights.

        Args:
            needed: The weights.
            alive: Bytes of activations that are alive before it.
            small: Bytes of those that stay in memory.
            known: Weights that an earlier task's rehearsal has placed already.
        """
        self.small = max(self.small, small)
        self.waiting = max(self.waiting, alive - small)
        self.largest = max(self.largest, sum(weight.nbytes for weight in needed))
        self.copied = max(self.copied, *(weight.nbytes for weight in needed))
        if not needed <= known:
            self.uses.append(Use(needed - known, alive - small))


def rehearse(
    seen: Rehearsal,
    forward: Forward,
    weights: Weights,
    activations: MeasuredActivations,
    check: Callable[[frozenset[Weight]], None],
) -> None:
    """Run a forward pass whose weights are zeros that exist only while an operation reads them.

    The real module code runs on a real batch, so whatever it looks at (masks, lengths) is as it will be; only
    paths that depend on the values of weights may differ later.

    Args:
        seen: What was seen; added to.
        forward: The forward pass.
        weights: The module's weights.
        activations: Does the operations.
        check: Called with the weights of each operation before they get memory; raises if they are too large.
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


def _fill_with_zeros(weights: frozenset[Weight]) -> None:
    for weight in weights:
        weight.allocate()
        with torch.no_grad():
            weight.live.zero_()


def _drop(weights: frozenset[Weight]) -> None:
    for weight in weights:
        weight.drop()
