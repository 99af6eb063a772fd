"""Imports the programs once and forks a process for each command: to import takes longer than to run.

Reads an order a line (JSON), answers with a line: how the command's process ended, what it said, and whether
children outlived it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
from typing import Any, NoReturn

SUBREAPER = 36
#: What the programs and their libraries import only when they need it.
IMPORTED_LATE = (
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "pandas", "scipy.optimize",
    "sklearn", "statsmodels.api", "torch._dynamo",
)  # fmt: skip
#: Seconds for what a command started to follow it; nothing is measured against it where all is well.
PATIENCE = 60


def main() -> int:
    """Answer orders until the input ends; in a child, be the command."""
    # Orphans come to us, so they are seen.
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    warm_up()
    gc.freeze()  # a collection in a child would copy every page that it looks at
    print("ready", flush=True)
    stopped: tuple[int, dict[str, Any]] | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if order["way"] == "go on":
            assert stopped is not None
            process, order = stopped
            stopped = None
            os.kill(process, signal.SIGCONT)
        elif (process := os.fork()) == 0:
            be(order)
        if order["way"] == "until it stops":
            order["way"] = "to the end"
            _, status = os.waitpid(process, os.WUNTRACED)
            assert os.WIFSTOPPED(status), "it ended before it was to stop"
            stopped = process, order
            answer = {}
        else:
            answer = await_end(process, order, alone=stopped is None)
        print(json.dumps(answer), flush=True)
    return 0


def warm_up() -> None:
    """Import whatever a command may import."""
    import matplotlib as mpl
    import torch

    import analysis
    import m2m
    import paper_figs

    mpl.use("agg")
    torch.set_num_threads(1)
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    for package in (m2m, analysis, paper_figs):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                with contextlib.suppress(ImportError):  # what only some installations have
                    importlib.import_module(found.name)


def be(order: dict[str, Any]) -> NoReturn:
    """Run the command as its program would."""
    os.setsid()
    os.chdir(order["folder"])
    for stream, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        flags = os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(path, flags)
        os.dup2(descriptor, stream)
        os.close(descriptor)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # where it stands, for whoever looks into one that hangs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for name, value in order["settings"].items():
        module, _, attribute = name.partition(":")
        getattr(importlib.import_module(module), attribute)  # what is set there must be there
        setattr(importlib.import_module(module), attribute, value)
    if order["headroom"] is not None:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        limit_memory(order["headroom"])
    program, *arguments = order["command"]
    sys.argv = order["command"]
    module = {"m2m": "m2m.cli", "m2m-analysis": "analysis.cli"}[program]
    try:
        code = int(importlib.import_module(module).main(arguments))
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    # As an interpreter ends, without taking apart what was imported, which takes longer than most commands.
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)  # torch still takes some
    sys.stdout.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def limit_memory(headroom: int) -> None:
    """Let this process's address space grow by so much and no more."""
    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + headroom, resource.RLIM_INFINITY))


def await_end(process: int, order: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    """Wait for the process, and for its children if no other's are there."""
    _, status = os.waitpid(process, 0)
    orphans = 0
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ChildProcessError):
        while alone:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
            if time.monotonic() > deadline and not orphans:
                orphans += 1
                os.killpg(process, signal.SIGKILL)
    said = {}
    for stream in ("out", "err"):
        with open(order[stream], encoding="utf-8", errors="replace") as file:
            said[stream] = file.read()
    return {"code": os.waitstatus_to_exitcode(status), "orphans": orphans, **said}


if __name__ == "__main__":
    sys.exit(main())
