"""Threads for what waits on a network: they never keep a program from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Crew:
    """A few daemon threads that take calls in turn. The library's pools are joined when the program ends.

    Leaving the `with` statement drops what has not begun, and does not wait for what has: a request may hang
    for minutes.
    """

    def __init__(self, threads: int) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = threads
        self._stopping = False
        for _ in range(threads):
            threading.Thread(target=self._work, name="remote", daemon=True).start()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for _thread in range(self._threads):
            self._queue.put(None)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have something done; the future holds what it gives, or raises what it raised."""
        future: Future[T] = Future()

        def run() -> None:
            if self._stopping or not future.set_running_or_notify_cancel():
                future.cancel()
                return
            try:
                future.set_result(call())
            except BaseException as error:  # handed to whoever waits
                future.set_exception(error)

        self._queue.put(run)
        return future

    def map(self, call: Callable[[T], object], items: list[T]) -> None:
        """Do something with each item; raises what the first of them raised."""
        for future in [self.submit(lambda item=item: call(item)) for item in items]:  # type: ignore[misc]
            future.result()

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            run()
