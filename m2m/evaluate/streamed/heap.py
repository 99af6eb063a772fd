"""Have the C heap give large blocks back to the system as soon as they are freed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: Blocks of this length or more are mapped one by one while a budget is kept.
_MAPPED_BYTES = 64 * 1024
#: What glibc's own moving threshold has reached in a process that has freed a large tensor.
_USUAL_BYTES = 32 * 1024 * 1024
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1


@contextmanager
def returning_memory() -> Iterator[None]:
    """Keep no freed block of 64 KiB or more while this lasts; where the C library is not glibc, do nothing.

    By default glibc stops mapping blocks below 32 MiB one by one once such blocks have been freed; then
    activations and weights that come and go leave holes that stay resident: measured, three times the budget.

    Yields:
        None: While the block runs.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _MAPPED_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, _USUAL_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _USUAL_BYTES)
