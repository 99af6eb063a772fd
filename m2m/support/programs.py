"""Users' programs: run to their end, with a log, and never longer than this process lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from m2m.support import leash


def run_program(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> int:
    """Run a program, which ends with this process or when the call is interrupted, and all that it started.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        environment: All of its environment.
        log: What it says is added to this file.

    Returns:
        Its exit code; 128 + n after signal n.
    """
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-IS", leash.__file__, *command],
            stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, cwd=folder, env=dict(environment),
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            return process.wait()
        finally:
            process.stdin.close()
            process.wait()


def last_lines(log: Path, count: int) -> list[str]:
    """Read the last lines of a log that are not empty; a line that was written over counts as it ended."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2**16))
        text = file.read().decode(errors="replace")
    lines = (line.rstrip().rpartition("\r")[2] for line in text.split("\n"))
    return [line for line in lines if line.strip()][-count:]
