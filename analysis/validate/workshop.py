"""What trainings beyond the run's own need: its configuration, its scores, and worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.validate.grid import Grid
from m2m.executors.protocol import Executor
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import Crew
from m2m.pipeline.headlines import headline
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.worker import Task, Train
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
        results: Its results.
        models: Folder for the models that are trained here.
        executor: Where they train and merge.
        progress: Is told what is going on.
    """

    folder: RunFolder
    config: RunConfig
    root: Path
    grid: Grid
    results: Mapping[str, Any]
    models: Path
    executor: Executor
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
    def target(self) -> str:
        """The target that ratios are chosen for; asked only where the run chose for one."""
        [name] = self.config.run.weights
        return name

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What models are scored on. [T]."""
        return tuple((target, "validation") for target in self.grid.targets)

    def train(self, jobs: Sequence[Train], what: str, base: Path | None = None) -> list[list[Scores]]:
        """Train in worker processes from `base`, the run's if None; models that lie there are only scored.

        Args:
            jobs: The trainings. [J]
            what: What to tell.
            base: Checkpoint that they start from.

        Returns:
            Each model's scores, one a task of its job. [J]
        """
        found = {job.folder: scores for job, scores in self._crew(base).train(jobs, what)}
        return [found[job.folder] for job in jobs]

    def trained(self, jobs: Sequence[Train], what: str) -> Floats:
        """Train, and return the models' scores on the jobs' tasks, higher is better. [T, J]."""
        return np.array(
            [self.values(scores, job.tasks) for job, scores in zip(jobs, self.train(jobs, what), strict=True)]
        ).T

    def merged(
        self,
        mixtures: Sequence[Mixture],
        experts: Sequence[Path],
        what: str,
        tasks: tuple[Task, ...] | None = None,
        base: Path | None = None,
    ) -> Floats:
        """Merge mixtures of experts, and return their scores on T tasks, higher is better.

        Args:
            mixtures: The candidates. [J]
            experts: Checkpoint folder of each dataset's expert. [N]
            what: What to tell.
            tasks: What they are scored on; the grid's targets unless given.
            base: The base model's checkpoint; the run's unless given.

        Returns:
            Means of the headline metric. [T, J]
        """
        found = self._crew(base).merge({tasks or self.tasks: list(mixtures)}, experts, what)
        values = {mixture.key: self.values(scores, done) for mixture, done, scores in found}
        return np.array([values[mixture.key] for mixture in mixtures]).T

    def _crew(self, base: Path | None) -> Crew:
        base, contents = base or self.folder.base, self.folder.contents
        return Crew(self.config.setup, self.root, base, contents, self.executor, self.progress)

    def values(self, scores: Sequence[Scores], tasks: Sequence[Task]) -> list[float]:
        """Read scores of the metrics that decide.

        Args:
            scores: One a task. [T]
            tasks: The tasks. [T]

        Returns:
            Means, higher is better. [T]
        """
        pairs = zip(scores, tasks, strict=True)
        return [float(self.gains(score, target).mean()) for score, (target, _) in pairs]

    def gains(self, scores: Scores, target: str) -> Floats:
        """Return each example's score by the metric that decides on a target, higher is better. [E]."""
        metric, upwards = headline(self.results, target)
        return (1.0 if upwards else -1.0) * scores.values[metric]
