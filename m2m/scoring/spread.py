"""Candidates scored by a team of workers, each with the experts open from one round to the next."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from m2m.errors import CheckpointError, ConfigError
from m2m.executors.choice import open_executor
from m2m.executors.protocol import Team, Work
from m2m.mixture import MergingWeights
from m2m.scoring.bench import Bench
from m2m.scoring.choice import Choice
from m2m.scoring.live.device import free_bytes
from m2m.scoring.means import Means
from m2m.scoring.models import Experts, Models, names_of, open_models, paths_of
from m2m.scoring.source import ScoreSource
from m2m.scoring.streamed import Counts
from m2m.scoring.tasks.scorer import Scorer, Scores
from m2m.support.arguments import argument
from m2m.support.content_keys import content_key
from m2m.support.progress import Progress

#: Most candidates that a worker takes at a time where more could as well come later.
ROUND = 16

Weights = TypeVar("Weights", bound=MergingWeights)


def in_rounds(candidates: Sequence[Weights], places: int, mode: str) -> list[Sequence[Weights]]:
    """Cut candidates into what a worker takes at a time.

    A round is small, so that little is lost with a worker; but where every round is a pass over the experts,
    or may be, a worker takes its whole share at once.

    Args:
        candidates: The candidates. [M]
        places: How many workers there are.
        mode: How they are scored, one of `Mode`.

    Returns:
        The rounds, which differ in length by one at most.
    """
    rounds = min(places, len(candidates))
    if places > 1 and mode == "resident":
        rounds = max(rounds, -(-len(candidates) // ROUND))
    return [candidates[first::rounds] for first in range(rounds)]


def part_of(means: Means, workers: int) -> Means:
    """Return what each of so many workers of this machine may use; scores do not depend on it."""
    memory = free_bytes(means.device) // 2 if means.memory is None else means.memory
    return replace(means, memory=memory // workers)


@dataclass(frozen=True)
class Opening:
    """What a worker opens.

    Attributes:
        base: Checkpoint of θ₀.
        experts: The experts' checkpoints by name. [N]
        bench: Makes module and tasks.
        means: In which way candidates are scored, and what all workers of a machine may use.
        beside: How many workers may share the machine.
        content: Hash of what the models' files and the module are where work is given out.
    """

    base: str | Path
    experts: dict[str, str | Path]
    bench: Callable[[], Bench]
    means: Means
    beside: int
    content: str


@dataclass(frozen=True)
class Round:
    """Candidates for one worker, and the numbers of the tasks that they are scored on."""

    candidates: tuple[MergingWeights, ...]
    tasks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.candidates)} candidates, the first of them {self.candidates[0].shown}"


class SpreadSource:
    """Scores from a team of workers, where a `ScoreSource` has them from this process.

    Attributes:
        models: What is merged.
        bench: What candidates are scored on.
        means: In which way.
        choice: How the last candidates were scored, and why so.
        counts: None: what workers read is not counted.
    """

    counts: Counts | None = None

    def __init__(
        self, models: Models, bench: Bench, means: Means, team: Team, places: int, progress: Progress
    ) -> None:
        self.models, self.bench, self.means = models, bench, means
        self.choice = Choice("none", "every score was there already")
        self._team, self._places, self._progress = team, places, progress

    def scores(
        self, mixtures: Sequence[Weights], scorers: Sequence[Scorer] | None = None
    ) -> Iterator[tuple[Weights, list[Scores]]]:
        """Score merged models as `ScoreSource.scores` does, in whatever order they come.

        Args:
            mixtures: The candidates, each once. [M]
            scorers: The tasks, of the bench's; all if None.

        Yields:
            (MergingWeights, list): A candidate, and its `Scores`, one a task.
        """
        known, named = list(self.bench.scorers), {mixture.key: mixture for mixture in mixtures}
        tasks = tuple(known.index(scorer) for scorer in (known if scorers is None else scorers))
        jobs = [Round(tuple(part), tasks) for part in in_rounds(mixtures, self._places, self.means.mode)]
        done = 0
        self._progress(done, len(mixtures), "candidates")
        for _, (key, scores, choice) in self._team.run(jobs):
            self.choice = replace(choice, why=f"{choice.why}; by {self._places} workers")
            yield named[key], scores
            done += 1
            self._progress(done, len(mixtures), "candidates")


@dataclass(frozen=True)
class Crowd:
    """Who scores candidates.

    Attributes:
        executor: Where they work, as `open_executor` names it.
        workers: How many there are; None: all that a cluster has, and on this machine this process alone,
            with all its cores.
        base: Checkpoint of θ₀, for workers to open.
        experts: The experts' checkpoints. [N]
        bench: What makes module and tasks; a bench as it is stays in this process.
    """

    executor: str
    workers: int | None
    base: str | Path
    experts: Experts
    bench: Bench | Callable[[], Bench]

    def source(
        self, models: Models, bench: Bench, means: Means, progress: Progress
    ) -> AbstractContextManager[ScoreSource | SpreadSource]:
        """Open the source of scores for the block.

        Args:
            models: What is merged, open here.
            bench: Module and tasks, made here.
            means: In which way candidates are scored, and what all workers of a machine may use.
            progress: Called with (done, total, what).

        Returns:
            The source.
        """
        if self.executor == "local" and (self.workers in {None, 1} or means.device.type == "cuda"):
            return ScoreSource(models, bench, means, progress)
        return _spread(self, models, bench, means, progress)


@contextmanager
def _spread(
    crowd: Crowd, models: Models, bench: Bench, means: Means, progress: Progress
) -> Iterator[SpreadSource]:
    make = crowd.bench
    if not callable(make):
        raise ConfigError(
            f"a bench stays in its process: {argument('executor')} and {argument('workers')} go with "
            f"{argument('tasks')}, or {argument('setup')}"
        )
    on_gpu = means.device.type == "cuda"
    executor = open_executor(crowd.executor, crowd.workers)
    places = executor.places(on_gpu=on_gpu)
    alone = replace(means, threads=means.threads or 1)
    experts = dict(zip(names_of(crowd.experts), paths_of(crowd.experts), strict=True))
    opening = Opening(
        crowd.base, experts, make, alone, executor.beside(places),
        content_key(*models.content(bench, means.device.type)),
    )  # fmt: skip
    team = executor.team(Work(score_round, open_worker, (opening,)), on_gpu=on_gpu)
    with team as workers:
        yield SpreadSource(models, bench, means, workers, places, progress)


#: What this process has open as a worker, as long as it lives.
_kept = ExitStack()
_source: ScoreSource | None = None


def open_worker(opening: Opening) -> None:
    """Open models and tasks in a worker process, until it ends.

    Args:
        opening: What to open.

    Raises:
        CheckpointError: If they are others than where the work is given out.
    """
    global _source
    logging.getLogger("m2m").setLevel(logging.ERROR)  # what there is to say was said where work is given out
    models = _kept.enter_context(open_models(opening.base, opening.experts))
    bench = opening.bench()
    if content_key(*models.content(bench, opening.means.device.type)) != opening.content:
        raise CheckpointError(
            f"{opening.base}, the experts or the module are not on {os.uname().nodename} what they are where "
            "the work is given out: all machines must see the same files, with the same packages"
        )
    _source = _kept.enter_context(ScoreSource(models, bench, part_of(opening.means, opening.beside)))


def score_round(job: Round) -> Iterator[tuple[str, list[Scores], Choice]]:
    """Score a round of candidates in a worker that has been opened.

    Args:
        job: What to score.

    Yields:
        (str, list, Choice): A candidate's key, its `Scores`, one a task, and how they were made.

    Raises:
        RuntimeError: If `open_worker` was not called in this process.
    """
    if _source is None:
        raise RuntimeError("score_round() before open_worker() in this process")
    scorers = [_source.bench.scorers[number] for number in job.tasks]
    for mixture, scores in _source.scores(job.candidates, scorers):
        yield mixture.key, scores, _source.choice
