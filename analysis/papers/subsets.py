"""Merge to Mix on one set-up with its whole truth: every subset merged and really trained.

The run chooses for several targets at once, each in standard deviations of its candidates. What it and the
baselines choose is then trained with seeds that chose nothing, and scored on test: the oracle is the best of
noisy trainings, and with its own seed it would look better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.fidelity import FidelityStudy, of_run
from analysis.fidelity.study import write
from analysis.papers.configuration import Sized, changed_text, written
from analysis.papers.cost import cost_of
from analysis.papers.experiment import Found, Place, Size
from analysis.papers.retrained import retrained
from analysis.results import run_source
from m2m import pipeline
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import RunFolder
from m2m.support.content_keys import Part


@dataclass(frozen=True)
class SubsetTruth:
    """The experiment.

    Attributes:
        name: Its name.
        title: What the page calls the set-up.
        sizes: What it runs, by size.
        fresh_seeds: Training seeds with which what was chosen is trained again.
    """

    name: str
    title: str
    sizes: Mapping[Size, Sized]
    fresh_seeds: int = 3

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
        sized = self.sizes[size]
        return [self.title, sized.model, sized.data, self._text(size), sized.content, self.fresh_seeds]

    def measure(self, place: Place, size: Size) -> Found:
        """Run, study fidelity, and retrain what was chosen; see `Experiment.measure`."""
        config, folder = self.run(place, size)
        study = of_run(folder.root)
        write(study, place.results, run_source(folder.root))
        train, sized = config.train, self.sizes[size]
        content = {
            "about": {"title": self.title, "model": sized.model, "data": sized.data},
            "sizes": {"steps": train.steps, "batch": train.batch, "truth_seeds": config.run.truth_seeds},
            "datasets": folder.read_results()["datasets"],
            "choice": retrained(folder, config, study, place, self.fresh_seeds),
            "cost": cost_of(folder, config),
        }
        return Found(content, {"points": centred_points(study)})

    def run(self, place: Place, size: Size) -> tuple[RunConfig, RunFolder]:
        """Run it, or go on with its run, wherever it was begun: other experiments study the same models.

        Args:
            place: Where any experiment works.
            size: How large.

        Returns:
            The run's configuration and its folder.
        """
        work = place.work.parent / self.name
        config = written(self._text(size), work / f"{size}.toml", self.sizes[size].files)
        # Other changes make another run: the folder is named by what it is made from.
        root = work / f"{size}-{config.identity[:16]}"
        return config, pipeline.run(config, root, executor=place.executor, progress=place.progress)

    def _text(self, size: Size) -> str:
        return changed_text(self.sizes[size].example, self.sizes[size].changes)


def centred_points(study: FidelityStudy) -> pd.DataFrame:
    """Return every target's scores less their means over mixtures of two or more datasets, as r takes them.

    Args:
        study: The fidelity of some targets.

    Returns:
        A row a target and mixture: merged and trained score, and whether it is a single dataset.
    """
    frames = []
    for target, fidelity in study.by.items():
        points, mixed = fidelity.points, fidelity.points.sizes > 1
        columns = {
            name: scores - np.mean(scores[mixed])
            for name, scores in (("merged", points.merged), ("trained", points.trained))
        }
        frames.append(pd.DataFrame({"target": target, **columns, "singleton": ~mixed}))
    return pd.concat(frames, ignore_index=True)
