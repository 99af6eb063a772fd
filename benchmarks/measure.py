"""Run whole commands, one at a time, and report wall time, CPU time and peak memory of each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run of a command cost.

    Attributes:
        wall_s: Seconds from start to end.
        cpu_s: User and system seconds, children included.
        peak_rss_bytes: Largest resident set of any of its processes, file-backed pages included.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int


def run(command: Sequence[str]) -> Cost:
    """Run a command to its end.

    Args:
        command: Program and arguments.

    Returns:
        Its cost.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode(errors='replace')[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def interleaved(cases: dict[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Run all cases in turn, several rounds, so that a slow minute of the machine hits all alike.

    Args:
        cases: What to run, by name.
        rounds: How often.

    Returns:
        The costs of each case, in the order of the rounds.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            costs[name].append(case())
            print(f"round {number + 1}/{rounds} {name}: {costs[name][-1].wall_s:.2f} s", file=sys.stderr)
    return costs


def median(costs: Sequence[Cost]) -> Cost:
    """Take the median of each figure.

    Args:
        costs: Several runs of one case.

    Returns:
        Their medians.
    """
    return Cost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.cpu_s for cost in costs),
        int(statistics.median(cost.peak_rss_bytes for cost in costs)),
    )


def warm(files: Sequence[Path]) -> None:
    """Read files once, so that they are in the page cache.

    Args:
        files: What to read.
    """
    buffer = bytearray(8 << 20)
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
