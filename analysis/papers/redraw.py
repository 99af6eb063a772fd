"""Do experiments, each once, and say how long the rest will take.

Where an executor has more than one place, experiments are shared out whole, and each runs in one process: all
cores are busy all the time, and nothing waits for processes that start. Those that work in one run stay
together, in their order. Where there are too few for all places, each in turn is given all of them instead.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from analysis.papers.experiment import Experiment, Place, Size, finish, is_kept, key_of
from m2m.executors.local import Local
from m2m.executors.news import tell
from m2m.executors.protocol import Executor
from m2m.support.devices import one_thread
from m2m.support.progress import Progress, say


@dataclass(frozen=True)
class Done:
    """One experiment of a call.

    Attributes:
        name: Its name.
        kept: Whether its results were there already, so that nothing was done.
        seconds: What it took, 0 if it was kept.
    """

    name: str
    kept: bool
    seconds: float


@dataclass(frozen=True)
class _Job:
    """One experiment of a call."""

    experiment: Experiment
    out: Path
    size: Size

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def results(self) -> Path:
        return results_folder(self.out, self.size) / self.name

    @property
    def is_kept(self) -> bool:
        return is_kept(self.results, key_of(self.experiment, self.size))

    def do(self, executor: Executor, progress: Progress) -> Done:
        place = Place(self.out / "work" / self.name, self.results, executor, progress)
        with one_thread():
            return Done(self.name, kept=False, seconds=finish(self.experiment, place, self.size))


def redo(
    experiments: Sequence[Experiment], out: Path, size: Size, executor: Executor, progress: Progress
) -> list[Done]:
    """Do the experiments whose results are not there, or are of another configuration or other code.

    Args:
        experiments: What to do, in order.
        out: Folder of it all: `work/NAME` has runs and models, `results/SIZE/NAME` what was found.
        size: How large.
        executor: Where they are done.
        progress: Called with (done, total, what).

    Returns:
        What was done, and what was there, in the order of `experiments`.
    """
    jobs = [job for one in experiments if not (job := _Job(one, out, size)).is_kept]
    chains = defaultdict[str, list[_Job]](list)
    for job in jobs:
        chains[job.experiment.models].append(job)
    if 1 < executor.places() <= len(chains):
        walk = _shared_out(list(chains.values()), executor, progress)
    else:
        walk = _in_turn(jobs, executor, progress)
    done = {one.name: one for one in walk}
    return [done.get(one.name, Done(one.name, kept=True, seconds=0.0)) for one in experiments]


def results_folder(out: Path, size: Size) -> Path:
    """Return where the experiments of one size have their results, a folder each."""
    return out / "results" / size


def _in_turn(jobs: Sequence[_Job], executor: Executor, progress: Progress) -> Iterator[Done]:
    clock = _Clock(jobs)
    for number, job in enumerate(jobs):
        say(progress, [f"experiment {number + 1} of {len(jobs)}, {job.name}: {clock.left()}"])
        yield job.do(executor, progress)
        clock.ended(job.name)


def _shared_out(chains: Sequence[Sequence[_Job]], executor: Executor, progress: Progress) -> Iterator[Done]:
    clock = _Clock([job for chain in chains for job in chain], executor.places())
    said: dict[str, str] = {}

    def told(number: int, news: tuple[str, str]) -> None:
        name, said[name] = news
        clock.began(name)
        at = " and ".join(f"{each} ({said[each]})" for each in sorted(clock.going))
        progress(clock.done, clock.total, f"minutes of work, at {at}:")

    say(progress, [f"{clock.experiments} experiments, {executor.places()} at a time: {clock.left()}"])
    for _, done in executor.run(_follow, chains, told=told):
        clock.ended(done.name)
        yield done
        say(progress, [f"{done.name} done in {done.seconds / 60:.1f} min: {clock.left()}"])


def _follow(chain: Sequence[_Job]) -> Iterator[Done]:
    """Do experiments in a worker process, one after the other."""
    for job in chain:
        yield job.do(Local(1), partial(_told, job.name))


def _told(name: str, done: int, total: int, what: str) -> None:
    tell((name, f"{what} {done}/{total}"))


class _Clock:
    """How long the rest takes, by the experiments' own minutes and by how long those before really took."""

    def __init__(self, jobs: Sequence[_Job], at_a_time: int = 1) -> None:
        self._minutes = {job.name: job.experiment.minutes[job.size] for job in jobs}
        self._at_a_time, self._began = at_a_time, time.monotonic()
        self._ended = set[str]()
        #: Names of experiments that are under way, as far as that is known.
        self.going = set[str]()

    @property
    def experiments(self) -> int:
        """Their number."""
        return len(self._minutes)

    @property
    def total(self) -> int:
        """Minutes of all."""
        return round(sum(self._minutes.values()))

    @property
    def done(self) -> int:
        """Minutes of those that ended."""
        return round(self._sum(self._ended))

    def began(self, name: str) -> None:
        """Count an experiment as under way."""
        self.going.add(name)

    def ended(self, name: str) -> None:
        """Count an experiment as done."""
        self.going.discard(name)
        self._ended.add(name)

    def left(self) -> str:
        """Say how long those that are not done take; what is under way counts as half done."""
        done = self._sum(self._ended) + self._sum(self.going) / 2
        worked = self._at_a_time * (time.monotonic() - self._began) / 60
        rest = (self._sum(self._minutes) - done) * (worked / done if self._ended else 1) / self._at_a_time
        return (
            f"about {max(rest, 1):.0f} min left in all"
            if len(self._ended) < self.experiments
            else "nothing left"
        )

    def _sum(self, names: Iterable[str]) -> float:
        return sum(self._minutes[name] for name in names)
