"""Share a memory budget among one block's weights, the running forward pass and the paused ones."""

from __future__ import annotations

from dataclasses import dataclass

from m2m.errors import InputError
from m2m.scoring.streamed.coroutine import PAUSED_BYTES
from m2m.scoring.streamed.rehearsal import Rehearsal
from m2m.scoring.streamed.weights import Weight
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
