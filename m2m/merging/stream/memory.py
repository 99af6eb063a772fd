"""The memory budget of a merge: how large its staging buffers may be, and how much the process holds."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from m2m.errors import ConfigError
from m2m.support.units import format_bytes

#: Staging memory of one input or output, a thread. Chosen by measurement: large enough to hide the system
#: calls, small enough that the inputs and outputs of a chunk stay in the second-level cache.
SLOT_BYTES = 128 * 1024
#: Below this, system calls take longer than the bytes they move.
_LEAST_SLOT_BYTES = 4096
#: The compiled stream takes no more; the results do not depend on it.
_MOST_THREADS = 4096


@dataclass(frozen=True)
class Staging:
    """Buffers of the workers."""

    #: Workers.
    threads: int
    #: Memory of one input or output, a worker.
    slot_bytes: int
    #: What the budget leaves besides these buffers.
    spare_bytes: int


def plan_staging(
    budget: int,
    threads: int | None,
    n_inputs: int,
    n_outputs: int,
    held_bytes: int = 0,
    row_bytes: int = 0,
    most_slot_bytes: int | None = None,
    scratch_bytes: int = 0,
) -> Staging:
    """Choose buffers of the workers for N inputs and M outputs that fit a budget, in bytes."""
    # `held_bytes` is what factors of adapters and maps of gathered rows take of it, `row_bytes` what one slot
    # must hold at least, `most_slot_bytes` what one needs at most (what suits the CPU when not given),
    # `scratch_bytes` what a worker needs besides. ConfigError if not even one worker with the smallest
    # buffers fits.
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    slots = n_inputs + n_outputs
    most = most_slot_bytes or SLOT_BYTES
    least = max(_LEAST_SLOT_BYTES, -(-row_bytes // _LEAST_SLOT_BYTES) * _LEAST_SLOT_BYTES)
    left = budget - held_bytes
    most_threads = left // (slots * least + scratch_bytes)
    if most_threads < 1:
        held = f" and {format_bytes(held_bytes)} of factors of adapters, maps of tokens and parts under way"
        factors = held if held_bytes else ""
        rows = " for whole rows" if least > _LEAST_SLOT_BYTES else ""
        rows += " and for sums along them" if scratch_bytes else ""
        raise ConfigError(
            f"a memory budget of {format_bytes(budget)} is too small: {n_inputs} inputs and "
            f"{n_outputs} outputs need at least {format_bytes(slots * least + scratch_bytes)}{rows}{factors}"
        )
    workers = min(threads or len(os.sched_getaffinity(0)), most_threads, _MOST_THREADS)
    left -= workers * scratch_bytes
    room = left // (workers * slots) // _LEAST_SLOT_BYTES * _LEAST_SLOT_BYTES
    slot_bytes = min(max(most, least), room)
    return Staging(workers, slot_bytes, left - workers * slots * slot_bytes)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Plan and run without the cyclic garbage collector."""
    # A plan is a few hundred thousand small objects without cycles, kept to the end; looking through them
    # again and again would take nearly as long as making them. Running it makes next to no garbage.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
