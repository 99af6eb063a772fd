"""A worker's desk: jobs come in as bytes, answers go out as bytes, whichever way they travel."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from m2m.errors import ConfigError
from m2m.executors.news import Hearer
from m2m.executors.protocol import Told, Work, WorkerError, job_name
from m2m.support.user_code import as_users

#: What an answer is: one of a job's results, its only one, that it has no more, an error, or news.
_ONE, _ONLY, _NO_MORE, _ERROR, _NEWS = range(5)


class Desk:
    """Where a worker process does its jobs.

    Args:
        setup: What `packed` made.
        send: Sends an answer.
    """

    def __init__(self, setup: bytes, send: Callable[[bytes], None]) -> None:
        self._setup, self._send = setup, send
        self._function: Callable[[Any], Any] | None = None
        self._hearer = Hearer(lambda news: send(pickle.dumps((_NEWS, news))))

    def do(self, job: bytes) -> None:
        """Do a pickled job and send its answers; the first job sets the process up."""
        with self._hearer:
            self._send(self._last_answer(job))

    def _last_answer(self, job: bytes) -> bytes:
        try:
            if self._function is None:
                self._function = _prepared(self._setup)
            found = self._function(pickle.loads(job))
            if isinstance(found, Iterator):
                for result in found:
                    self._send(pickle.dumps((_ONE, result)))
            return pickle.dumps((_NO_MORE, None) if isinstance(found, Iterator) else (_ONLY, found))
        except (Exception, SystemExit) as error:
            return pickle.dumps((_ERROR, _portable(as_users(error))))


def packed(work: Work) -> bytes:
    """Pickle what a worker is set up with, and where relative paths start from."""
    return pickle.dumps((os.getcwd(), work))


def opened(answer: bytes, number: int, jobs: Sequence[Any], told: Told) -> tuple[list[Any], bool]:
    """Open an answer where it was waited for; a worker's error is raised here.

    Args:
        answer: What a desk sent.
        number: The job that it answers.
        jobs: All jobs, for the name of this one.
        told: Hears the job's news.

    Returns:
        The job's next result if there is one, and whether the job is done.
    """
    kind, content = pickle.loads(answer)
    if kind == _ERROR:
        content.add_note(f"in {job_name(number, jobs)}")
        raise content
    if kind == _NEWS:
        told(number, content)
        return [], False
    return [] if kind == _NO_MORE else [content], kind != _ONE


def _prepared(setup: bytes) -> Callable[[Any], Any]:
    folder, work = pickle.loads(setup)
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror} on {os.uname().nodename}; all machines that work together must "
            "see the folder that the command was given in, under the same path"
        ) from error
    if "torch" in sys.modules:  # imported with the function, perhaps before the environment was set
        sys.modules["torch"].set_num_threads(1)
    if work.initializer is not None:
        work.initializer(*work.initargs)
    return work.function  # type: ignore[no-any-return]


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
