"""More datasets than can be enumerated: is what a search picks worth training on?

With 24 datasets there are 16,777,215 subsets. Searches score a few of their merges; what they pick, and what
needs no search, is then trained with seeds that chose nothing, and scored on test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.papers.configuration import Sized, changed_text, written
from analysis.papers.cost import TRAINING, validation_examples
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.questions.hunting import Budget, Hunt, Hunted, hunted
from analysis.papers.questions.picks import Picks, curves, picks_of, ways_told
from m2m import pipeline
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.crew import Crew
from m2m.pipeline.headlines import headline
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.worker import Train
from m2m.support.arrays import Floats
from m2m.support.content_keys import Part
from m2m.support.devices import one_thread


@dataclass(frozen=True)
class ManyDatasets:
    """The question.

    Attributes:
        title: What the page calls the set-up.
        sizes: What it runs, by size; the targets are the run's `target` and `fidelity`.
        budgets: How much is searched, by size.
        fresh_seeds: Training seeds with which what was picked is trained.
        name: Its name.
    """

    title: str
    sizes: Mapping[Size, Sized]
    budgets: Mapping[Size, Budget]
    fresh_seeds: int = 3
    name: str = "question_many"

    @property
    def models(self) -> str:
        """Its own run's."""
        return self.name

    @property
    def minutes(self) -> dict[Size, float]:
        """About how long it takes, by size."""
        return {size: sized.minutes for size, sized in self.sizes.items()}

    def made_from(self, size: Size) -> Part:
        """Return what decides the results."""
        sized, budget = self.sizes[size], self.budgets[size]
        text = changed_text(sized.example, sized.changes)
        return [self.title, sized.model, sized.data, text, budget.evaluations, budget.seeds, self.fresh_seeds]

    def measure(self, place: Place, size: Size) -> Found:
        """Train experts, search, and train what was picked; see `Experiment.measure`."""
        sized, budget = self.sizes[size], self.budgets[size]
        config = written(changed_text(sized.example, sized.changes), place.work / f"{size}.toml", sized.files)
        root = place.work / f"{size}-{config.identity[:16]}"
        folder = pipeline.run(config, root, executor=place.executor, progress=place.progress)
        run = _Run(config, folder, place)
        hunts = run.hunt(budget)
        seeds = range(config.run.seed + 1, config.run.seed + 1 + self.fresh_seeds)
        picks = picks_of(hunts, budget, run.results["similarities"], seeds)
        content = {
            "about": {"title": self.title, "model": sized.model, "data": sized.data},
            "sizes": {
                "datasets": len(run.datasets),
                "targets": len(hunts),
                "evaluations": budget.evaluations,
                "steps": config.train.steps,
                "training seeds": self.fresh_seeds,
            },
            "longer": budget.longest.budget,
            "search_seeds": budget.seeds,
            "curves": curves(hunts, budget),
            "ways": ways_told(picks, hunts, run.gains(picks, hunts, seeds)),
            "cost": run.cost(budget),
        }
        return Found(content)


@dataclass(frozen=True)
class _Run:
    """A finished run whose experts are searched."""

    config: RunConfig
    folder: RunFolder
    place: Place

    @cached_property
    def results(self) -> Mapping[str, Any]:
        return self.folder.read_results()

    @property
    def datasets(self) -> list[str]:
        return list(self.results["datasets"])

    @property
    def targets(self) -> tuple[str, ...]:
        run = self.config.run
        return tuple(dict.fromkeys((*run.weights, *run.fidelity)))

    def hunt(self, budget: Budget) -> dict[str, Hunted]:
        """Do all searches for every target."""
        singles = {name: Mixture.subset(self.datasets, [name]) for name in self.datasets}
        experts = {name: self.folder.model(one, self.config.run.seed) for name, one in singles.items()}
        tables = self._beside("searches")
        tables.mkdir(exist_ok=True)
        hunts = [
            Hunt(target, budget.searches, self.folder.base, experts, tables / f"{target}.sqlite")
            for target in self.targets
        ]
        spec, root = self.config.setup, self.config.root
        return hunted(hunts, spec, root, self.place.executor, self.place.progress)

    def gains(self, picks: Picks, hunts: Mapping[str, Hunted], seeds: Sequence[int]) -> dict[str, Floats]:
        """Train all picks, each once a seed; return their test gains over the base model. [S, T]."""
        asked = defaultdict[tuple[str, int], dict[str, Mixture]](dict)
        for by_target in picks.values():
            for target, mixtures in by_target.items():
                for seed, mixture in zip(seeds, mixtures, strict=True):
                    asked[mixture.key, seed][target] = mixture
        models, recipe = self._beside("trained"), self.config.train
        jobs = [
            Train(
                mixture := next(iter(by_target.values())), seed, recipe,
                models / mixture.folder_name / f"seed{seed}", tuple((target, "test") for target in by_target),
            )
            for (_, seed), by_target in asked.items()
        ]  # fmt: skip
        scores = self._scores(jobs)

        def of_target(target: str, mixtures: Sequence[Mixture]) -> list[float]:
            base = hunts[target].base
            return [scores[m.key, seed, target] - base for seed, m in zip(seeds, mixtures, strict=True)]

        return {
            way: np.array([of_target(*pair) for pair in by_target.items()]).T
            for way, by_target in picks.items()
        }

    def _scores(self, jobs: Sequence[Train]) -> dict[tuple[str, int, str], float]:
        """Train, and return test scores by mixture, seed and target, higher is better."""
        crew = Crew(
            self.config.setup, self.config.root, self.folder.base, self.folder.contents,
            self.place.executor, self.place.progress,
        )  # fmt: skip
        found = {}
        with one_thread():
            for job, scores in crew.train(jobs, "what was picked"):
                for (target, _), each in zip(job.tasks, scores, strict=True):
                    metric, upwards = headline(self.results, target)
                    found[job.mixture.key, job.seed, target] = (1 if upwards else -1) * each.mean(metric)
        return found

    def cost(self, budget: Budget) -> dict[str, int]:
        """Count forwards of one example: of training the experts, and of a target's searches."""
        recipe, count = self.config.train, len(self.datasets)
        scored = validation_examples(self.folder, self.targets[:1])
        return {
            "examples": scored,
            "experts": TRAINING * recipe.steps * recipe.batch * count,
            "search": budget.evaluations * scored,
            "longer": budget.longest.budget * scored,
            "mixtures": 2**count - 1,
            "enumeration": (2**count - 1) * scored,
        }

    def _beside(self, what: str) -> Path:
        return self.folder.root.with_name(f"{self.folder.root.name}-{what}")
