"""What is about to die while a test runs: a worker, or a machine of a cluster, named in a file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

#: Lies in a folder that tests and workers see: a line each that is doomed, `worker` or the id of a machine.
DOOMED = "doomed"
#: Begins the name of what appears beside it when a job has met its end: the next one is left in peace.
HIT = "hit "


def all_hit(place: Path) -> bool:
    """Say whether all that was doomed has met its end."""
    return all((place / f"{HIT}{doomed}").exists() for doomed in _doomed(place))


def is_doomed(place: Path) -> bool:
    """Say whether this worker's machine is about to die; a worker that is doomed itself ends here."""
    for doomed in _doomed(place):
        if doomed not in ("worker", _machine()):
            continue
        try:
            (place / f"{HIT}{doomed}").touch(exist_ok=False)
        except FileExistsError:
            continue
        if doomed == "worker":
            os.kill(os.getpid(), signal.SIGKILL)
        return True
    return False


def _doomed(place: Path) -> list[str]:
    return (place / DOOMED).read_text().split() if (place / DOOMED).exists() else []


def _machine() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
