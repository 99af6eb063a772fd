"""Runs `m2m` as users do: as a process of its own, which can be killed with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Only what hangs takes as long, on any machine; no test asks how fast something is.
HANG_S = 600


def hear_signals() -> None:
    """Give a child the signals of a program in a terminal's foreground, however the tests were started."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(*arguments: object, cwd: Path, prepare: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start `m2m` in a process group of its own; `prepare` runs in the child before it."""

    def prepare_child() -> None:
        hear_signals()
        if prepare is not None:
            prepare()

    return subprocess.Popen(
        [sys.executable, "-m", "m2m.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare_child,
    )


def run(
    *arguments: object, cwd: Path, prepare: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `m2m` to its end."""
    process = start(*arguments, cwd=cwd, prepare=prepare)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill it and its children then, or let it end well before; say whether it was killed."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}
    return process.returncode != 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], every: float = 0.001) -> None:
    """Wait until something holds, asked every so many seconds, or the process has ended."""
    while not condition() and process.poll() is None:
        time.sleep(every)


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
