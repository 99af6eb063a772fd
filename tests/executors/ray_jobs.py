"""Jobs that lose their workers on a cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path


def count_with_a_loss(folder: Path) -> Iterator[int]:
    """Count to six, whose first worker dies after four."""
    for number in range(6):
        if number == 4 and not (folder / "lost").exists():
            (folder / "lost").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield number


def where(number: int) -> str:
    """Return the id of the machine that does it."""
    import ray

    return str(ray.get_runtime_context().get_node_id())
