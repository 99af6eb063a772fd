"""Work on a Ray cluster: one actor a worker, whose machine may die and take nothing with it but time."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from m2m.errors import ConfigError
from m2m.executors.desk import opened, packed
from m2m.executors.protocol import Executor, LostWorkerError, Team, Told, Work, job_name, nobody_told
from m2m.executors.ray_worker import RayWorker
from m2m.support.arguments import argument
from m2m.support.extras import MissingPackageError, installing

#: How often a job is given to a worker, and workers in a row may fail to start.
TRIES = 3
#: Seconds after which it is said that nothing has been heard of the cluster.
PATIENCE = 60.0
#: Seconds that a cluster's address has to answer.
_ANSWERS_IN = 5.0
_TOKEN = "; if the cluster asks for a token (`ray get-auth-token` there tells it), say it in RAY_AUTH_TOKEN"

_log = logging.getLogger(__name__)


class Ray(Executor):
    """Runs jobs as actors of a Ray cluster: each has a CPU for its one thread, or a GPU beside it.

    A worker that is lost, by itself or with its machine, is replaced and its job done anew; results that the
    job had already given count once. All machines must have m2m and see the same files under the same paths.
    A process is connected to one cluster; a connection that it has already is used.

    Args:
        address: `ray://HOST:PORT` of a Ray client's server; None: the cluster of `RAY_ADDRESS` or of this
            machine, else one of this machine alone, which is started.
        workers: Most workers at a time; None: one a CPU of the cluster, and for what takes a GPU one a GPU.

    Raises:
        ConfigError: If Ray is not installed, nobody answers at the address, or `workers` is below 1.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self._ray, self._workers = _connected(address), workers

    def places(self, *, on_gpu: bool = False) -> int:
        """One a CPU or GPU of the cluster, unless fewer or more are asked for."""
        found = self._ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0)
        return self._workers or max(1, int(found))

    def beside(self, jobs: int) -> int:
        """As many as the machine with most CPUs can do."""
        most = max(
            (node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]), default=1
        )
        return max(1, min(self.places(), jobs, int(most)))

    def team(
        self, work: Work, *, most: int | None = None, on_gpu: bool = False
    ) -> AbstractContextManager[Team]:
        """Ask for actors, which start with the first round; what they are given must be picklable."""
        places = self.places(on_gpu=on_gpu)
        places = places if most is None else min(places, most)
        return _Actors(self._ray, places, packed(work), on_gpu)


@dataclass(eq=False)
class _Actor:
    """A worker of the cluster; it may still be waiting for a place there."""

    handle: Any
    #: The machine that it runs on, once it does.
    machine: str | None = None
    #: The job it is at, and how many results of it came since it was given.
    number: int | None = None
    results: int = 0

    @property
    def is_idle(self) -> bool:
        return self.machine is not None and self.number is None


class _Round:
    """Jobs of one round, and how far each is."""

    def __init__(self, jobs: Sequence[Any], told: Told) -> None:
        self.jobs, self.told = jobs, told
        self.waiting = deque(range(len(jobs)))
        self.left = len(jobs)
        #: Workers that were lost over a job, and its results that were handed on, by its number.
        self.lost, self.results = Counter[int](), Counter[int]()

    def answers(self, actor: _Actor, answers: Sequence[bytes]) -> Iterator[tuple[int, Any]]:
        """Walk over what is new in a worker's answers; what an earlier worker gave already is not."""
        assert actor.number is not None
        number = actor.number
        for answer in answers:
            results, done = opened(answer, number, self.jobs, self.told)
            actor.results += len(results)
            if results and actor.results > self.results[number]:
                self.results[number] += 1
                yield number, results[0]
            if done:
                actor.number = None
                self.left -= 1


class _Actors:
    """A team of actors."""

    def __init__(self, ray: Any, most: int, setup: bytes, on_gpu: bool) -> None:
        self._ray, self._most, self._setup = ray, most, setup
        self._kind = ray.remote(RayWorker).options(
            num_cpus=1, num_gpus=int(on_gpu), max_restarts=0, max_task_retries=0
        )  # fmt: skip
        self._actors: list[_Actor] = []
        #: Who is waited for, by what Ray calls it.
        self._asked: dict[Any, _Actor] = {}
        #: Workers in a row that ended before they could do anything.
        self._stillborn = 0

    def __enter__(self) -> _Actors:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, jobs: Sequence[Any], told: Told = nobody_told) -> Iterator[tuple[int, Any]]:
        work = _Round(jobs, told)
        try:
            while work.left:
                while len(self._actors) < min(self._most, work.left):
                    self._start()
                for actor in self._actors:
                    if actor.is_idle and work.waiting:
                        self._give(actor, work.waiting.popleft(), jobs)
                for actor, answers in self._heard(work):
                    yield from work.answers(actor, answers)
                    if not actor.is_idle:
                        self._asked[actor.handle.take.remote()] = actor
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        actor = _Actor(self._kind.remote(self._setup))
        self._actors.append(actor)
        self._asked[actor.handle.is_there.remote()] = actor

    def _give(self, actor: _Actor, number: int, jobs: Sequence[Any]) -> None:
        actor.number, actor.results = number, 0
        actor.handle.give.remote(pickle.dumps(jobs[number]))
        self._asked[actor.handle.take.remote()] = actor

    def _heard(self, work: _Round) -> Iterator[tuple[_Actor, list[bytes]]]:
        """Wait for the next answers; a worker that has started is idle, a lost one's job waits again."""
        ready, _ = self._ray.wait([*self._asked], num_returns=1, timeout=PATIENCE)
        if not ready and not any(actor.machine for actor in self._actors):
            free = self._ray.available_resources()
            _log.warning(
                "the Ray cluster has no place for a worker yet: %d CPUs and %d GPUs of it are free",
                free.get("CPU", 0), free.get("GPU", 0),
            )  # fmt: skip
        for ask in ready:
            actor = self._asked.pop(ask)
            try:
                found = self._ray.get(ask)
            except self._ray.exceptions.RayError as error:
                self._actors.remove(actor)
                self._ray.kill(actor.handle)
                self._lost(actor, _why(error), work)
                continue
            if actor.machine is None:
                self._stillborn, actor.machine = 0, found
            else:
                yield actor, found

    def _lost(self, actor: _Actor, why: str, work: _Round) -> None:
        """Have a lost worker's job done again, unless it or starting has cost too many workers."""
        number = actor.number
        if number is None:
            self._stillborn += 1
            if self._stillborn == TRIES:
                raise LostWorkerError(
                    f"the Ray cluster cannot start workers: {why} ({TRIES} in a row); every machine of it "
                    "needs this Python, m2m and what the run needs"
                )
            return
        work.lost[number] += 1
        if work.lost[number] == TRIES:
            raise LostWorkerError(
                f"{job_name(number, work.jobs)}: {TRIES} workers were lost over it, the last on "
                f"{actor.machine}: {why}"
            )
        _log.warning("a worker on %s was lost: %s; its job is done again", actor.machine, why)
        work.waiting.appendleft(number)

    def _stop(self) -> None:
        actors, self._actors, self._asked = self._actors, [], {}
        for actor in actors:
            self._ray.kill(actor.handle)


def check_cluster(address: str | None) -> None:
    """Refuse a cluster that cannot be worked with, without importing Ray.

    Args:
        address: As `Ray` has it.

    Raises:
        MissingPackageError: If Ray is not installed.
        ConfigError: If nobody answers at the address.
    """  # noqa: DOC502 - partly raised by what is called
    if find_spec("ray") is None:
        raise MissingPackageError(
            f"{argument('executor', 'ray')} needs Ray, which is not installed: {installing('ray')}"
        )
    if address is not None:
        _check_answers(address, argument("executor", address))
    elif known := os.environ.get("RAY_ADDRESS"):
        _check_answers(known, f"RAY_ADDRESS={known}")


def _connected(address: str | None) -> Any:
    """Import Ray and connect this process to a cluster."""
    check_cluster(address)
    if address is not None:
        _offer_token()
    import ray

    if ray.is_initialized():
        return ray
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise ConfigError(
            f"{argument('executor', address or 'ray')}: cannot work with the Ray cluster at {where}: "
            f"{_first_line(error)}{_TOKEN if address and 'timeout' in str(error) else ''}"
        ) from error
    return ray


def _offer_token() -> None:
    """Have Ray's client send the token that lies here, as Ray itself does where it joins a cluster."""
    kept = Path.home() / ".ray" / "auth_token"
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or kept.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _check_answers(address: str, said: str) -> None:
    # Ray itself takes minutes to give an address up, and then may take the process along.
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        return
    try:
        socket.create_connection((parts.hostname, parts.port), _ANSWERS_IN).close()
    except OSError as error:
        raise ConfigError(
            f"{said}: nobody answers at {parts.hostname}:{parts.port} ({error}); "
            "start the cluster (`ray start --head` there), or work on this machine alone"
        ) from error


def _why(error: Exception) -> str:
    text = str(error)
    if "low on memory" in text:
        return "its machine ran out of memory (ask for less: --memory, or fewer workers)"
    if "node has died" in text or "node died" in text.lower():
        return "its machine is gone"
    if "unavailable" in text:
        return "it no longer answers: its machine is gone, or the network"
    if "process has died" in text:
        return "its process was killed or crashed (out of memory?)"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
