"""A worker on a machine of a Ray cluster, as Ray starts it there; imports nothing heavy."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from m2m.executors.desk import Desk
from m2m.executors.protocol import ONE_THREAD

#: Seconds after which somebody who waits for answers hears that there is none yet.
PAUSE = 5.0


class RayWorker:
    """An actor: a process that does jobs in a thread while its answers are asked for.

    Args:
        setup: What `desk.packed` made.
    """

    def __init__(self, setup: bytes) -> None:
        os.environ.update(ONE_THREAD)
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1)
        self._desk = Desk(setup, self._answers.put)

    def is_there(self) -> str:
        """Return the name of the machine it runs on."""
        return os.uname().nodename

    def give(self, job: bytes) -> None:
        """Begin a pickled job."""
        self._thread.submit(self._desk.do, job)

    def take(self) -> list[bytes]:
        """Wait a little for answers, and hand over all that there are."""
        found = []
        with suppress(Empty):
            found.append(self._answers.get(timeout=PAUSE))
            while True:
                found.append(self._answers.get_nowait())
        return found
