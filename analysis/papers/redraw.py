"""Do experiments, each once, and say how long the rest will take.

Where an executor has more than one place, experiments are shared out whole, and each runs in one process: all
cores are busy all the time, and nothing waits for processes that start. Those that work in one run stay
together, in their order. Where there are too few for all places, each in turn is given all of them instead.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.papers.experiment import Experiment, Place, Size, finish, is_kept, key_of
from m2m.executors.local import Local
from m2m.executors.news import tell
from m2m.executors.protocol import Executor
from m2m.support.devices import one_thread
from m2m.support.progress import Progress, nobody, say


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
    """One experiment that is to be done."""

    experiment: Experiment
    place: Place
    size: Size

    def do(self) -> Done:
        with one_thread():
            return Done(
                self.experiment.name, kept=False, seconds=finish(self.experiment, self.place, self.size)
            )


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
    places = [
        Place(out / "work" / one.name, results_folder(out, size) / one.name, executor, progress)
        for one in experiments
    ]
    jobs = [
        _Job(one, place, size)
        for one, place in zip(experiments, places, strict=True)
        if not is_kept(place.results, key_of(one, size))
    ]
    chains = defaultdict[str, list[_Job]](list)
    for job in jobs:
        chains[job.experiment.models].append(job)
    shared = 1 < executor.places() <= len(chains)
    walk = _shared_out(list(chains.values()), executor, progress) if shared else _in_turn(jobs, progress)
    done = {one.name: one for one in walk}
    return [done.get(one.name, Done(one.name, kept=True, seconds=0.0)) for one in experiments]


def results_folder(out: Path, size: Size) -> Path:
    """Return where the experiments of one size have their results, a folder each."""
    return out / "results" / size


def _in_turn(jobs: Sequence[_Job], progress: Progress) -> Iterator[Done]:
    clock = _Clock(jobs)
    for number, job in enumerate(jobs):
        say(progress, [f"experiment {number + 1} of {len(jobs)}, {job.experiment.name}: {clock.left()}"])
        yield job.do()
        clock.ended(job.experiment.name)


def _shared_out(chains: Sequence[Sequence[_Job]], executor: Executor, progress: Progress) -> Iterator[Done]:
    clock = _Clock([job for chain in chains for job in chain])
    going: dict[int, str] = {}

    def told(number: int, news: str) -> None:
        going[number] = news
        progress(clock.done, clock.total, f"minutes of experiments, at {' and '.join(going.values())}:")

    say(progress, [f"{len(clock.minutes)} experiments, {executor.places()} at a time"])
    alone = [[replace(job, place=replace(job.place, executor=Local(1), progress=nobody)) for job in chain]
             for chain in chains]  # fmt: skip
    for number, done in executor.run(_follow, alone, told=told):
        going.pop(number, None)
        yield done
        clock.ended(done.name)
        say(progress, [f"{done.name} done in {done.seconds / 60:.1f} min: {clock.left()}"])


def _follow(chain: Sequence[_Job]) -> Iterator[Done]:
    """Do experiments in a worker process, one after the other."""
    for job in chain:
        name = job.experiment.name

        def told(done: int, total: int, what: str, name: str = name) -> None:
            tell(f"{name} ({what} {done}/{total})")

        yield replace(job, place=replace(job.place, progress=told)).do()


class _Clock:
    """How long the rest takes, by the experiments' own minutes and by how long those before really took."""

    def __init__(self, jobs: Sequence[_Job]) -> None:
        self.minutes = {job.experiment.name: job.experiment.minutes[job.size] for job in jobs}
        self._began, self._ended = time.monotonic(), set[str]()

    @property
    def total(self) -> int:
        """Minutes of all."""
        return round(sum(self.minutes.values()))

    @property
    def done(self) -> int:
        """Minutes of those that ended."""
        return round(sum(self.minutes[name] for name in self._ended))

    def ended(self, name: str) -> None:
        """Count an experiment as done."""
        self._ended.add(name)

    def left(self) -> str:
        """Say how long those that are not done take."""
        done = sum(self.minutes[name] for name in self._ended)
        slowness = (time.monotonic() - self._began) / 60 / done if done else 1.0
        rest = sum(self.minutes.values()) - done
        return f"about {max(rest * slowness, 1):.0f} min left in all" if rest else "nothing is left"
