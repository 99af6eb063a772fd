"""The C heap: what it keeps of freed memory, and when it gives it back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: Longer than any block: nothing is mapped one by one, nothing is given back.
_KEPT_BYTES = 2**31 - 1
#: What glibc's own moving threshold has reached in a process that has freed a large tensor.
_USUAL_BYTES = 32 * 1024 * 1024
#: Blocks of this length or more are mapped one by one while a budget is kept.
_MAPPED_BYTES = 64 * 1024
#: Longest hole that is looked for.
_LONGEST_BYTES = 1 << 30
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


@contextmanager
def returning_memory() -> Iterator[None]:
    """Keep no freed block of 64 KiB or more while this lasts; where the C library is not glibc, do nothing.

    By default glibc stops mapping blocks below 32 MiB one by one once such blocks have been freed; then
    activations and weights that come and go leave holes that stay resident: measured, three times the budget.
    It also prefers holes of its heap to new mappings, and what is freed there stays resident too: so the
    holes that are there already are given back, and then taken, untouched, until the end.

    Yields:
        None: While the block runs.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _MAPPED_BYTES)
    libc.malloc_trim(ctypes.c_size_t(0))
    holes = _take_holes(libc)
    try:
        yield
    finally:
        for hole in holes:
            libc.free(ctypes.c_void_p(hole))
        libc.mallopt(_M_MMAP_THRESHOLD, _USUAL_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _USUAL_BYTES)


def _take_holes(libc: ctypes.CDLL) -> list[int]:
    # Blocks of these lengths come from a hole if there is one, else from a mapping, which is above the heap.
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    heap_end: int = libc.sbrk(0)
    holes, size = [], _LONGEST_BYTES
    while size >= _MAPPED_BYTES:
        block = libc.malloc(ctypes.c_size_t(size))
        if block is not None and block < heap_end:
            holes.append(block)
            continue
        libc.free(ctypes.c_void_p(block))
        size //= 2
    return holes
