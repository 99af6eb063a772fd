"""Models merged and really trained at ratios of the datasets, and their scores on all targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.papers.experiment import Place
from analysis.papers.sums import scored_sums
from m2m.checkpoint import verified_state
from m2m.executors.local import Local
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import Crew
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.steps import load_setup
from m2m.pipeline.worker import Task, Train
from m2m.scoring import Scores, Targets, score_model
from m2m.setups.protocol import load_state
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread
from m2m.training import TrainRecipe


class Wanted(NamedTuple):
    """Models that are wanted: mixtures, training seeds, and the split they are scored on; "": on none."""

    mixtures: Sequence[Mixture]
    seeds: Sequence[int]
    split: str = ""


@dataclass(frozen=True)
class RatioBench:
    """Trains, merges and scores; models that lie there already are only scored.

    All scores are oriented so that higher is better.

    Attributes:
        config: The run's configuration.
        targets: Its set-up and targets.
        names: The targets that models are scored on. [T]
        crew: Who does it, from one base model.
        models: The folder of the models.
        recipe: How they are trained.
        known: Scores of trained models by folder and split. each [T]
    """

    config: RunConfig
    targets: Targets
    names: tuple[str, ...]
    crew: Crew
    models: RunFolder
    recipe: TrainRecipe
    known: dict[tuple[Path, str], Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of_run(cls, root: Path, config: RunConfig, names: Sequence[str], place: Place) -> RatioBench:
        """Work in a run folder whose experts are trained."""
        folder, targets = RunFolder(root), load_setup(config, place.progress)
        crew = Crew(config.setup, config.root, folder.base, folder.contents, place.executor, place.progress)
        return cls(config, targets, tuple(names), crew, folder, config.train)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets. [N]."""
        return tuple(self.targets.setup.datasets)

    @property
    def seed(self) -> int:
        """The run's training seed."""
        return self.config.run.seed

    @property
    def singles(self) -> list[Mixture]:
        """Every dataset alone. [N]."""
        return [Mixture.subset(self.datasets, [name]) for name in self.datasets]

    def going_on(self, middle: Path, recipe: TrainRecipe, room: Path) -> RatioBench:
        """Return a bench whose models begin at another one and lie in another folder."""
        return replace(self, crew=replace(self.crew, base=middle), models=RunFolder(room), recipe=recipe)

    def mixtures(self, points: Floats) -> list[Mixture]:
        """Name points of the simplex, a row of weights a mixture. [M, N] → [M]."""
        return [Mixture(self.datasets, tuple(map(float, row))) for row in points]

    def base_scores(self, split: str) -> Floats:
        """Score the base model on a split. [T]."""
        model = load_state(self.targets.setup.build(), verified_state(self.models.base))
        with one_thread():
            scores = score_model(model, [self.targets.scorer(name, split) for name in self.names])
        return self._values(scores)

    def experts(self, seed: int, of: Sequence[Mixture] | None = None) -> list[Path]:
        """Train the experts of a seed, of every dataset or of groups of them, and return their folders."""
        mixtures = self.singles if of is None else of
        self.train([Wanted(mixtures, [seed])], "experts")
        return [self.models.model(mixture, seed) for mixture in mixtures]

    def merged(self, mixtures: Sequence[Mixture], experts: Sequence[Path], what: str) -> Floats:
        """Merge experts [N] with the weights of mixtures, and score the models on validation. [M, T]."""
        distinct = list({mixture.key: mixture for mixture in mixtures}.values())
        with one_thread():
            # In this process: to start others takes longer than some tens of merges.
            walk = replace(self.crew, executor=Local(1)).merge(
                {self._tasks("validation"): distinct}, experts, what
            )
            found = {mixture.key: self._values(scores) for mixture, _, scores in walk}
        return np.array([found[mixture.key] for mixture in mixtures])

    def sums(self, rows: Floats, models: Sequence[Path], what: str) -> Floats:
        """Score weighted sums of models [K], of weights [M, K] of any sign, on validation. [M, T]."""
        named = {str(folder): folder for folder in models}
        out = np.empty((len(rows), len(self.names)))
        for number, scores in scored_sums(
            rows, named, self.models.base, self.targets, self.names, what, self.crew.progress
        ):
            out[number] = self._values(scores)
        return out

    def trained(
        self, mixtures: Sequence[Mixture], seeds: Sequence[int], what: str, split: str = "validation"
    ) -> Floats:
        """Train on mixtures with every seed, and score the models on a split. [S, M, T]."""
        self.train([Wanted(mixtures, seeds, split)], what)
        return np.array([[self.known[self.models.model(m, seed), split] for m in mixtures] for seed in seeds])

    def train(self, wanted: Sequence[Wanted], what: str) -> None:
        """Train and score all that is wanted and not there, in one go: to start processes takes a while."""
        jobs: dict[tuple[Path, str], Train] = {
            # Several ways may choose the same mixture: it is trained once.
            (folder, one.split): Train(mixture, seed, self.recipe, folder, self._tasks(one.split))
            for one in wanted
            for seed in one.seeds
            for mixture in one.mixtures
            if self._is_missing(folder := self.models.model(mixture, seed), one.split)
        }
        with one_thread():
            for job, scores in self.crew.train(list(jobs.values()), what):
                if job.tasks:
                    self.known[job.folder, job.tasks[0][1]] = self._values(scores)

    def _is_missing(self, folder: Path, split: str) -> bool:
        return (folder, split) not in self.known if split else not folder.exists()

    def _tasks(self, split: str) -> tuple[Task, ...]:
        return tuple((name, split) for name in self.names) if split else ()

    def _values(self, scores: Sequence[Scores]) -> Floats:
        headlines = map(self.targets.headline, self.names)
        return np.array(
            [
                float(score.values[metric].mean()) * (1 if upwards else -1)
                for score, (metric, upwards) in zip(scores, headlines, strict=True)
            ]
        )
