"""Jobs that lose their workers on a cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers.disk_store import ROOT, register
from helpers.doomed import all_hit, is_doomed

from m2m.merging.stream import by_shard
from m2m.merging.stream.execute import Execution


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


def merge_shard(job: tuple[Path, by_shard.ShardJob]) -> Execution:
    """Merge a shard when all that is doomed has met its end; a doomed machine is waited for for ever."""
    place, shard = job
    while is_doomed(place):
        time.sleep(3600)
    while not all_hit(place):
        time.sleep(0.05)
    return by_shard.merge_shard(shard)


def with_store(job: tuple[Path, Callable[[Any], Any], Any]) -> Any:
    """Do a job in a process that reaches the store of a folder."""
    root, function, rest = job
    os.environ[ROOT] = str(root)
    register()
    return function(rest)
