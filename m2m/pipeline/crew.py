"""Who does a run's trainings and merges: worker processes, or this one where starting them takes longer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from m2m.data import cache_dir
from m2m.executors.local import Local
from m2m.executors.protocol import Executor
from m2m.mixture import MergingWeights
from m2m.pipeline import worker
from m2m.pipeline.worker import Merge, Task, Train
from m2m.scoring import Means, Scores
from m2m.scoring.spread import in_rounds
from m2m.support.progress import Progress
from m2m.training.device import open_training_device

Weights = TypeVar("Weights", bound=MergingWeights)
#: How merged models are scored unless one is told otherwise: the bits do not depend on how many there are.
WHOLE = Means("resident")


@dataclass(frozen=True)
class Crew:
    """Workers that know a run's set-up."""

    #: The configuration's `[setup]` table.
    spec: Mapping[str, Any]
    #: Folder that the table's relative paths start from.
    root: Path
    #: Checkpoint folder of θ₀.
    base: Path
    #: Hashes of the set-up's parts that the run began with.
    contents: Mapping[str, str]
    #: Where they work.
    executor: Executor
    progress: Progress

    def train(self, jobs: Sequence[Train], step: str) -> Iterator[tuple[Train, list[Scores]]]:
        """Do trainings, in whatever order they end; models that lie there already are only scored."""
        new = [not job.folder.exists() for job in jobs]
        if any(new):
            sizes = [
                job.recipe.total_steps(job.mixture) if is_new else 1
                for job, is_new in zip(jobs, new, strict=True)
            ]
            course = _Course(self.progress, f"{step}, steps", sizes)
        else:
            course = _Course(self.progress, step, [1] * len(jobs))
        on_gpu = any(open_training_device(job.recipe.device).type == "cuda" for job in jobs)
        executor = self.executor if any(new) else Local(1)
        for number, scores in self._do(jobs, course, executor, on_gpu):
            course.ended(number, course.sizes[number])
            yield jobs[number], scores

    def merge(
        self,
        mixtures: Mapping[tuple[Task, ...], Sequence[Weights]],
        experts: Sequence[Path],
        step: str,
        means: Means = WHOLE,
    ) -> Iterator[tuple[Weights, tuple[Task, ...], list[Scores]]]:
        """Score merged models of weights, given by the tasks that they miss; each worker in one walk."""
        on_gpu = means.device.type == "cuda"
        places = self.executor.places(on_gpu=on_gpu)
        beside = min(places, self.executor.beside(sum(map(len, mixtures.values()))))
        rounds = [
            (tasks, tuple(part))
            for tasks, group in mixtures.items()
            for part in in_rounds(group, places, means.mode)
        ]
        more = places > 1 and len(rounds) > 1  # where this process does it, nothing is left open
        jobs = [Merge(part, tuple(experts), tasks, means, beside, more) for tasks, part in rounds]
        course = _Course(self.progress, step, [len(job.mixtures) for job in jobs])
        for number, (mixture, scores) in self._do(jobs, course, self.executor, on_gpu):
            course.ended(number, 1)
            yield mixture, jobs[number].tasks, scores

    def _do(
        self, jobs: Sequence[Train | Merge], course: _Course, executor: Executor, on_gpu: bool
    ) -> Iterator[tuple[int, Any]]:
        if not jobs:
            return
        arguments = (self.spec, self.root, cache_dir(), self.base, self.contents)
        course.say()
        yield from executor.run(
            worker.work, jobs, initializer=worker.prepare, initargs=arguments, told=course.told, on_gpu=on_gpu
        )


@dataclass
class _Course:
    """How far jobs are together, in steps of training or in candidates."""

    progress: Progress
    step: str
    #: What each job has to do.
    sizes: Sequence[int]
    #: What of it is done, by job.
    done: dict[int, int] = field(default_factory=dict)

    def told(self, number: int, done: int) -> None:
        """Hear from a job; it is not over before its result is there."""
        self.done[number] = min(done, self.sizes[number] - 1)
        self.say()

    def ended(self, number: int, more: int) -> None:
        """Count what a result stands for."""
        self.done[number] = min(self.done.get(number, 0) + more, self.sizes[number])
        self.say()

    def say(self) -> None:
        """Tell the progress."""
        self.progress(sum(self.done.values()), sum(self.sizes), self.step)
