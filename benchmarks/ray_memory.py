"""What is said of a job that takes more memory than its machine of a Ray cluster has?

    python benchmarks/ray_memory.py [--job 4] [--free 2.5]

Starts a cluster of this machine whose watch ends workers as soon as `--free` GiB more are taken than now, and
gives it a job of `--job` GiB. Prints what is logged of each worker that is lost, and the error in the end.
Needs `m2m[ray]`, and as much free memory as the job takes.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

from m2m.errors import M2MError

GIB = 2**30
#: Seconds that the memory is held: several looks of the watch.
HELD_S = 15


def main() -> None:
    """Lose the job's workers, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--job", type=float, default=4, metavar="GIB")
    parser.add_argument("--free", type=float, default=2.5, metavar="GIB")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    total, taken = memory()
    watch = {
        "RAY_memory_usage_threshold": f"{(taken + args.free * GIB) / total:.3f}",
        "RAY_memory_monitor_refresh_ms": "200",
    }
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    os.environ.update(watch, PYTHONPATH=path)
    import ray_memory  # this file, under the name by which workers find it

    from m2m.executors.choice import open_executor

    try:
        list(open_executor("ray", 1).run(ray_memory.hold, [int(args.job * GIB)]))
    except M2MError as error:
        print(error)
    else:
        sys.exit("the job was not ended")


def memory() -> tuple[int, int]:
    """Return this machine's memory, and what of it is taken, in bytes."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    found = {row[0]: int(row[1]) * 1024 for row in rows}
    return found["MemTotal:"], found["MemTotal:"] - found["MemAvailable:"]


def hold(nbytes: int) -> int:
    """Take so much memory, and keep it for a while."""
    kept = bytearray(nbytes)
    kept[:: os.sysconf("SC_PAGE_SIZE")] = b"1" * len(kept[:: os.sysconf("SC_PAGE_SIZE")])
    time.sleep(HELD_S)
    return len(kept)


if __name__ == "__main__":
    main()
