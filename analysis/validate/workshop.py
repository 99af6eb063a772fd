"""What trainings beyond the run's own need: its configuration, its scores, and worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.validate.grid import Grid
from m2m.data import cache_dir
from m2m.mixture import Mixture
from m2m.pipeline import worker
from m2m.pipeline.config import RunConfig
from m2m.pipeline.executors import Executor, LocalProcesses, Serial
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.worker import Merge, Train
from m2m.scoring import Scores
from m2m.support.arrays import Floats
from m2m.support.progress import Progress


@dataclass(frozen=True)
class Workshop:
    """What the trainings need of a run.

    Attributes:
        folder: The run folder.
        config: Its configuration.
        root: Folder that the configuration's paths start from.
        grid: The run's scores.
        sign: 1 if higher is better, −1 if lower.
        metric: The headline metric.
        models: Folder for the models that are trained here.
        workers: Worker processes.
        progress: Is told what is going on.
    """

    folder: RunFolder
    config: RunConfig
    root: Path
    grid: Grid
    sign: float
    metric: str
    models: Path
    workers: int
    progress: Progress

    @property
    def singles(self) -> tuple[Mixture, ...]:
        """Every dataset alone. [N]."""
        return tuple(mixture for mixture in self.grid.mixtures if len(mixture.members) == 1)

    @property
    def experts(self) -> tuple[Path, ...]:
        """Checkpoint folder of every dataset's expert. [N]."""
        return tuple(self.folder.model(m, self.config.run.seed) for m in self.singles)

    @property
    def tasks(self) -> tuple[tuple[str, str], ...]:
        """What models are scored on. [T]."""
        return tuple((target, "validation") for target in self.grid.targets)

    def work(self, jobs: Sequence[Train | Merge], what: str, base: Path | None = None) -> Floats:
        """Do jobs in worker processes.

        Args:
            jobs: Trainings or merges, all with the same T tasks. [J]
            what: What to tell.
            base: Checkpoint that trainings start from; the run's base model unless given.

        Returns:
            Their models' scores, higher is better. [T, J]
        """
        scores = self.score(jobs, what, base)
        width = len(jobs[0].tasks) if jobs else len(self.tasks)
        return np.array([self.values(row) for row in scores]).reshape(len(jobs), width).T

    def score(self, jobs: Sequence[Train | Merge], what: str, base: Path | None = None) -> list[list[Scores]]:
        """Do jobs in worker processes, and keep every example's score.

        Args:
            jobs: Trainings or merges; models that lie there already are only scored. [J]
            what: What to tell.
            base: Checkpoint that trainings start from; the run's base model unless given.

        Returns:
            Each job's scores, one a task of the job. [J]
        """
        executor: Executor = LocalProcesses(self.workers) if self.workers > 1 else Serial()
        arguments = (
            self.config.setup,
            self.root,
            cache_dir(),
            base or self.folder.base,
            self.folder.contents,
        )
        out: list[list[Scores]] = [[] for _ in jobs]
        results = executor.run(worker.work, jobs, initializer=worker.prepare, initargs=arguments)
        for done, (number, scores) in enumerate(results, start=1):
            out[number] = scores
            self.progress(done, len(jobs), what)
        return out

    def values(self, scores: Sequence[Scores]) -> list[float]:
        """Read scores of the headline metric.

        Args:
            scores: One a task. [T]

        Returns:
            Means, higher is better. [T]
        """
        return [self.sign * score.mean(self.metric) for score in scores]
