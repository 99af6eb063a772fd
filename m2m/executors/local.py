"""Work on this machine: in this process, or in worker processes beside it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from m2m.errors import ConfigError
from m2m.executors.desk import Desk, opened, packed
from m2m.executors.news import Hearer
from m2m.executors.protocol import (
    ONE_THREAD,
    Executor,
    LostWorkerError,
    Team,
    Told,
    Work,
    WorkerError,
    job_name,
    nobody_told,
)  # fmt: skip

#: Seconds a worker that is at a job gets to end before it is killed, and one that is idle, and clears up.
GRACE, CLEARS_UP_IN = 0.3, 10.0
#: What a pickle says that needs something of the user's script.
_MAIN = b"__main__"
#: Signals by which users and systems end a process; any other is the process's own doing.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU}


class Local(Executor):
    """Runs jobs on this machine: in this process where it has one place, else in worker processes.

    Workers are fresh interpreters with one compute thread each; they run the user's script again only if jobs
    need what it defines. In a worker, jobs run in that process. A job's error is raised here with the
    worker's traceback and the job's name as notes. When a walk over results ends early, by an error, Ctrl-C
    or a closed iterator, the workers are ended with it; a worker whose parent died ends too.

    Args:
        workers: Most processes at a time; None: one a core.
        alone: Whether jobs run in this process where one at a time is done; otherwise a worker does that too.

    Raises:
        ConfigError: If `workers` is below 1.
    """

    def __init__(self, workers: int | None = None, *, alone: bool = True) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        if multiprocessing.current_process().daemon:
            workers = 1  # a worker's own processes would outlive it, so that Python lets it have none
        self._workers, self._alone = workers or os.cpu_count() or 1, alone

    def places(self, *, on_gpu: bool = False) -> int:
        """One a worker; on a GPU one job runs at a time."""
        return 1 if on_gpu else self._workers

    def beside(self, jobs: int) -> int:
        """As many as there are workers."""
        return max(1, min(self._workers, jobs))

    def team(
        self, work: Work, *, most: int | None = None, on_gpu: bool = False
    ) -> AbstractContextManager[Team]:
        """Set processes up, which start with their first jobs; what they are given must be picklable."""
        places = self.places(on_gpu=on_gpu)
        if (places if most is None else min(places, most)) == 1 and self._alone:
            return nullcontext(_InProcess(work))
        return _Processes(places, packed(work))


class _InProcess:
    """A team of this process alone, which does jobs one after the other."""

    def __init__(self, work: Work) -> None:
        self._work, self._ready = work, False

    def run(self, jobs: Sequence[Any], told: Told = nobody_told) -> Iterator[tuple[int, Any]]:
        if self._work.initializer is not None and jobs and not self._ready:
            self._work.initializer(*self._work.initargs)
            self._ready = True
        for number, job in enumerate(jobs):
            try:
                for result in self._results(job, Hearer(partial(told, number))):
                    yield number, result
            except Exception as error:
                error.add_note(f"in {job_name(number, jobs)}")
                raise

    def _results(self, job: Any, hearer: Hearer) -> Iterator[Any]:
        """Walk over a job's results; between them, nothing of the job runs."""
        with hearer:
            found = self._work.function(job)
        if not isinstance(found, Iterator):
            yield found
            return
        nothing = object()
        while True:
            with hearer:
                result = next(found, nothing)
            if result is nothing:
                return
            yield result


class _Processes:
    """A team of worker processes."""

    def __init__(self, most: int, setup: bytes) -> None:
        self._most, self._setup = most, setup
        self._workers: list[_Worker] = []

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, jobs: Sequence[Any], told: Told = nobody_told) -> Iterator[tuple[int, Any]]:
        waiting = iter(range(len(jobs)))
        try:
            while len(self._workers) < min(self._most, len(jobs)):
                self._workers.append(_Worker(self._setup, jobs[0]))
            for worker, number in zip(self._workers, waiting, strict=False):
                worker.give(number, jobs)
            while busy := {
                worker.connection: worker for worker in self._workers if worker.number is not None
            }:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    number, results = worker.take(jobs, told)
                    if worker.number is None and (following := next(waiting, None)) is not None:
                        worker.give(following, jobs)
                    for result in results:
                        yield number, result
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        workers, self._workers = self._workers, []
        try:
            for worker in workers:
                worker.dismiss()
            for worker in workers:
                worker.end()
        finally:  # also after another Ctrl-C: what is left would be waited for without end
            for worker in workers:
                worker.kill()


class _Worker:
    """A worker process as its parent sees it; `number` is the job it is at, or None."""

    def __init__(self, setup: bytes, job: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
        self.number: int | None = None
        resource_tracker.ensure_running()  # otherwise `start` does it, and lets interrupts through again
        with _interrupts_held(), _script_hidden(_MAIN in setup or _MAIN in pickle.dumps(job)):
            self.process.start()
        theirs.close()

    def give(self, number: int, jobs: Sequence[Any]) -> None:
        """Hand over a job."""
        self.number = number
        with suppress(BrokenPipeError):  # a dead worker is reported when its answer is due
            self.connection.send_bytes(pickle.dumps(jobs[number]))

    def take(self, jobs: Sequence[Any], told: Told) -> tuple[int, list[Any]]:
        """Receive a result of its job, or none and that the job is done; a worker's error is raised here.

        Args:
            jobs: All jobs, for the name of this one.
            told: Hears the job's news.

        Returns:
            The job's number, and its next result if there is one.

        Raises:
            LostWorkerError: If the worker was ended from outside.
            WorkerError: If it died by itself.
        """
        assert self.number is not None
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            self.process.join(GRACE)
            code = self.process.exitcode
            message = f"{job_name(self.number, jobs)}: its worker {_fate(code)}"
            if code is not None and -code in _FROM_OUTSIDE:
                raise LostWorkerError(message) from None
            raise WorkerError(message) from None
        number = self.number
        results, done = opened(answer, number, jobs, told)
        if done:
            self.number = None
        return number, results

    def dismiss(self) -> None:
        """Hang up, so that an idle worker ends by itself and clears up; one that is at a job is ended."""
        if self.number is not None:
            self.process.terminate()
        self.connection.close()

    def end(self) -> None:
        """Wait a little for it to end, and kill it if it does not."""
        self.process.join(CLEARS_UP_IN if self.number is None else GRACE)
        self.kill()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        with suppress(ValueError):  # it has, and nothing is kept of it
            self.process.kill()
            self.process.join()
            self.process.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for the block; a process started in it never sees one, its parent ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _script_hidden(needed: bool) -> Iterator[None]:
    """Hide the user's script from processes that start in the block, unless it is `needed`.

    Python would run it again there: one without `if __name__ == "__main__"` would start everything once more.
    """
    script = sys.modules["__main__"]
    said = vars(script)
    hidden: dict[str, Any] = (
        {} if needed else {name: said[name] for name in ("__file__", "__spec__") if name in said}
    )
    try:
        said.update(dict.fromkeys(hidden))
        yield
    finally:
        said.update(hidden)


def _fate(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        why = " (out of memory?)" if exitcode == -signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-exitcode).name}{why}"
    return f"ended with exit code {exitcode} before it was done"


def _serve(connection: Connection, setup: bytes) -> None:
    """Live as a worker: answer jobs until the parent hangs up or dies."""
    os.environ.update(ONE_THREAD)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    desk = Desk(setup, connection.send_bytes)
    with suppress(EOFError, OSError):
        while True:
            desk.do(connection.recv_bytes())


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
