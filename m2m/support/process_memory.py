"""How much memory this process holds, and has held at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int | None:
    """Bytes that the process holds and that are no file's; nothing where the system does not tell."""
    return _status("RssAnon")


def peak_resident_bytes() -> int:
    """Most bytes the process has held since it started, file pages included."""
    # Linux's `ru_maxrss` begins with what the process was forked from, so that it is asked only elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int | None:
    try:
        text = _STATUS.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    # torch's own class is not known here, and on the processor it raises a plain RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )
