"""Run a program that ends with whoever started it: `python leash.py PROGRAM ARGUMENT …`.

Standard input is the leash: when its other end closes, as it does however that process ends, the program and
all that it started are told to end, and killed if they do not. Run as a script, and imports nothing of m2m.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

#: Seconds a program gets to end by itself.
GRACE = 10.0


def main() -> int:
    """Run the program that the arguments name; returns its exit code, 128 + n after signal n as shells do."""
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_leash, args=(program,), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _end_with_leash(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    _signal(program, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        program.wait(GRACE)
    _signal(program, signal.SIGKILL)  # what it started and did not end
    os._exit(1)


def _signal(program: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.pid, number)


if __name__ == "__main__":
    sys.exit(main())
