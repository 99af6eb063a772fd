"""Have the C heap keep the memory of one forward pass for the next one."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: Longer than any block: nothing is mapped one by one, nothing is given back.
_KEPT_BYTES = 2**31 - 1
#: What glibc's own moving threshold has reached in a process that has freed a large tensor.
_USUAL_BYTES = 32 * 1024 * 1024
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Keep freed blocks for the next forward pass while this lasts; without glibc, do nothing.

    By default glibc gives every block of 32 MiB or more back to the system when it is freed, so the logits
    and activations of every forward pass are new pages, which the system clears one by one.

    Yields:
        None: While the block runs; at its end the heap gives back what it can.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _USUAL_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _USUAL_BYTES)
        libc.malloc_trim(ctypes.c_size_t(0))
