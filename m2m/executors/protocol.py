"""What an executor is: a function's jobs go in, results come out as soon as they are there.

A job whose function returns an iterator has as many results as that yields. While it runs, a job may `tell`
how far it is (`m2m.executors.news`), wherever it runs.
"""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from m2m.errors import M2MError

#: Environment that keeps a worker to one thread, whatever its libraries would take.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

#: Hears of a job, by its number, what the job tells.
Told = Callable[[int, Any], None]


class WorkerError(M2MError):
    """A worker process died, or its error cannot travel; names the job."""


class LostWorkerError(WorkerError):
    """A worker process was ended from outside: by the user, or by a system that is out of memory."""

    exit_code = 2


@dataclass(frozen=True)
class Work:
    """What workers do.

    Attributes:
        function: What a job is given to.
        initializer: Called once in each worker before its first job.
        initargs: What it is called with.
    """

    function: Callable[[Any], Any]
    initializer: Callable[..., None] | None = None
    initargs: tuple[Any, ...] = ()


class Team(Protocol):
    """Workers that were set up once and take jobs, one round after the other."""

    def run(self, jobs: Sequence[Any], told: Told = ...) -> Iterator[tuple[int, Any]]:
        """Return an iterator over (job number, result) in the order in which they come.

        Args:
            jobs: What the team's function is called with.
            told: Hears what jobs tell.

        Returns:
            The walk; whoever gives it up early gives up what was being done, and the team with it.
        """


class Executor(ABC):
    """Gives teams of workers."""

    @abstractmethod
    def places(self, *, on_gpu: bool = False) -> int:
        """Say how many jobs run at a time.

        Args:
            on_gpu: Whether a job takes a GPU.

        Returns:
            Their number, at least 1.
        """

    @abstractmethod
    def beside(self, jobs: int) -> int:
        """Say how many of so many jobs share one machine's memory.

        Args:
            jobs: Number of jobs.

        Returns:
            The largest number that any machine does at a time, at least 1.
        """

    @abstractmethod
    def team(
        self, work: Work, *, most: int | None = None, on_gpu: bool = False
    ) -> AbstractContextManager[Team]:
        """Set workers up for the block, and end them after it.

        Args:
            work: What they do.
            most: Most jobs of a round, more workers are not wanted; None: as many as there are places.
            on_gpu: Whether a job takes a GPU.

        Returns:
            The team.
        """

    def run(
        self,
        function: Callable[[Any], Any],
        jobs: Sequence[Any],
        *,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        told: Told | None = None,
        on_gpu: bool = False,
    ) -> Generator[tuple[int, Any], None, None]:
        """Have one round of jobs done by a team of its own, as `team` and `Team.run` say it.

        Args:
            function: What a job is given to.
            jobs: The jobs; none start nothing.
            initializer: Called once in each worker before its first job.
            initargs: What it is called with.
            told: Hears what jobs tell; None: nobody.
            on_gpu: Whether a job takes a GPU.

        Yields:
            (int, Any): A job's number, and a result of it.
        """
        if not jobs:
            return
        team = self.team(Work(function, initializer, initargs), most=len(jobs), on_gpu=on_gpu)
        with team as workers:
            yield from workers.run(jobs, told or nobody_told)


def nobody_told(number: int, news: Any) -> None:
    """News that nobody hears."""


def job_name(number: int, jobs: Sequence[Any]) -> str:
    """Name a job in messages."""
    return textwrap.shorten(f"job {number + 1} of {len(jobs)}: {jobs[number]}", 300)
