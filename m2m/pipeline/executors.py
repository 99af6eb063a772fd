"""Where work runs: in this process or in local worker processes; results come as soon as they are there.

A job whose function returns an iterator has as many results as that yields. While it runs, a job may `tell`
how far it is, here or in a worker.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from m2m.errors import ConfigError, M2MError
from m2m.support.user_code import as_users

Job = TypeVar("Job")
#: Seconds a worker gets to end before it is killed.
GRACE = 0.3
#: Signals by which users and systems end a process; any other is the process's own doing.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU}
#: Environment that keeps a worker to one thread, whatever its libraries would take.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: What a worker's answer is: one of a job's results, its only one, that it has no more, an error, or news.
_ONE, _ONLY, _NO_MORE, _ERROR, _NEWS = range(5)
#: Seconds between two pieces of news of a job.
NEWS_EVERY = 0.5

#: Hears of a job, by its number, what the job tells.
Told = Callable[[int, Any], None]


def nobody_told(number: int, news: Any) -> None:
    """News that nobody hears."""


class _Teller:
    """How a job of this process is heard of."""

    def __init__(self) -> None:
        self.hear: Callable[[Any], None] | None = None
        self.last = 0.0


_teller = _Teller()


def tell(news: Any) -> None:
    """Tell whoever runs this job how far it is; too much news is left out."""
    now = time.monotonic()
    if _teller.hear is not None and now - _teller.last >= NEWS_EVERY:
        _teller.last = now
        _teller.hear(news)


class WorkerError(M2MError):
    """A worker process died, or its error cannot travel; names the job."""


class LostWorkerError(WorkerError):
    """A worker process was ended from outside: by the user, or by a system that is out of memory."""

    exit_code = 2


class Executor(Protocol):
    """Runs a function over jobs."""

    def run(
        self,
        function: Callable[[Job], Any],
        jobs: Sequence[Job],
        *,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        told: Told = nobody_told,
    ) -> Iterator[tuple[int, Any]]:
        """Return an iterator over (job number, result) in the order in which they come."""


class Serial:
    """Runs jobs in this process, one after the other."""

    def run(
        self,
        function: Callable[[Job], Any],
        jobs: Sequence[Job],
        *,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        told: Told = nobody_told,
    ) -> Iterator[tuple[int, Any]]:
        """Run the jobs, and yield the number and a result of each."""
        if initializer is not None and jobs:
            initializer(*initargs)
        for number, job in enumerate(jobs):
            try:
                _teller.hear = partial(told, number)
                found = function(job)
                for result in found if isinstance(found, Iterator) else [found]:
                    yield number, result
            except Exception as error:
                error.add_note(f"in {_name(number, jobs)}")
                raise
            finally:
                _teller.hear = None


class LocalProcesses:
    """Runs jobs in worker processes on this machine: fresh interpreters, one compute thread each.

    A job's error is raised here with the worker's traceback and the job's name as notes. When the walk ends
    early, by an error, Ctrl-C or a closed iterator, the workers are ended with it; a worker whose parent died
    ends too.

    Args:
        workers: Most processes at a time.

    Raises:
        ConfigError: If `workers` is below 1.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.workers = workers

    def run(
        self,
        function: Callable[[Job], Any],
        jobs: Sequence[Job],
        *,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        told: Told = nobody_told,
    ) -> Iterator[tuple[int, Any]]:
        """Run the jobs, and yield the number and a result of each; all must be picklable."""
        setup = pickle.dumps((function, initializer, initargs))
        waiting = iter(range(len(jobs)))
        workers: list[_Worker] = []
        try:
            for number in islice(waiting, self.workers):
                workers.append(_Worker(setup))
                workers[-1].give(number, jobs)
            while busy := {worker.connection: worker for worker in workers if worker.number is not None}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    number, results = worker.take(jobs, told)
                    if worker.number is None and (following := next(waiting, None)) is not None:
                        worker.give(following, jobs)
                    for result in results:
                        yield number, result
        finally:
            _stop(workers)


class _Worker:
    """A worker process as its parent sees it; `number` is the job it is at, or None."""

    def __init__(self, setup: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
        self.number: int | None = None
        resource_tracker.ensure_running()  # otherwise `start` does it, and lets interrupts through again
        with _interrupts_held():
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
            kind, answer = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            self.process.join(GRACE)
            code = self.process.exitcode
            message = f"{_name(self.number, jobs)}: its worker {_fate(code)}"
            if code is not None and -code in _FROM_OUTSIDE:
                raise LostWorkerError(message) from None
            raise WorkerError(message) from None
        if kind == _ERROR:
            answer.add_note(f"in {_name(self.number, jobs)}")
            raise answer
        number = self.number
        if kind == _NEWS:
            told(number, answer)
            return number, []
        if kind != _ONE:
            self.number = None
        return number, [] if kind == _NO_MORE else [answer]


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for the block; a process started in it never sees one, its parent ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(GRACE)
        worker.process.kill()
        worker.process.join()
        worker.process.close()
        worker.connection.close()


def _name(number: int, jobs: Sequence[Any]) -> str:
    return textwrap.shorten(f"job {number + 1} of {len(jobs)}: {jobs[number]}", 300)


def _fate(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        why = " (out of memory?)" if exitcode == -signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-exitcode).name}{why}"
    return f"ended with exit code {exitcode} before it was done"


def _serve(connection: Connection, setup: bytes) -> None:
    """Live as a worker: answer jobs until the parent hangs up or dies."""
    os.environ.update(ONE_THREAD)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Callable[[Any], Any] | None = None
    _teller.hear = lambda news: connection.send_bytes(pickle.dumps((_NEWS, news)))
    with suppress(EOFError, OSError):
        while True:
            job = connection.recv_bytes()
            try:
                if function is None:
                    function = _prepare(setup)
                found = function(pickle.loads(job))
                if isinstance(found, Iterator):
                    for result in found:
                        connection.send_bytes(pickle.dumps((_ONE, result)))
                answer = pickle.dumps((_NO_MORE, None) if isinstance(found, Iterator) else (_ONLY, found))
            except (Exception, SystemExit) as error:
                answer = pickle.dumps((_ERROR, _portable(as_users(error))))
            connection.send_bytes(answer)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _prepare(setup: bytes) -> Callable[[Any], Any]:
    function, initializer, initargs = pickle.loads(setup)
    if "torch" in sys.modules:  # imported with the function, perhaps before the environment was set
        sys.modules["torch"].set_num_threads(1)
    if initializer is not None:
        initializer(*initargs)
    return function  # type: ignore[no-any-return]


def _portable(error: BaseException) -> BaseException:
    note = f"worker's traceback:\n{traceback.format_exc()}"
    error.add_note(note)
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # whatever a user's error class does when it is rebuilt
        pass
    stand_in = WorkerError(f"{type(error).__name__}: {error}")
    stand_in.add_note(note)
    return stand_in
