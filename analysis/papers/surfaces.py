"""Surfaces fitted to merged starting mixtures, and the best ratio by them: MergeMix's last two stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.papers.capabilities import Capabilities
from m2m.predicting import family
from m2m.predicting.protocol import Model
from m2m.searching import Simplex
from m2m.searching.simplex_optimum import fine_search, spread
from m2m.support.arrays import Floats

#: The families, by what they are called in results: LightGBM as it comes, which is what MergeMix prints
#: (it prints no settings), LightGBM as forty rows want it, and a smooth one.
PRINTED, SET, SMOOTH = "lightgbm-mergemix", "lightgbm", "gp"
SURFACES = (PRINTED, SET, SMOOTH)
#: Mixtures that the fine search looks at first.
LOOKED_AT = 8192


@dataclass(frozen=True)
class Surfaces:
    """A fitted model a target, and utilities of what they predict.

    Attributes:
        models: The models. [T]
        capabilities: The utilities.
        base: The base model's scores. [T]
        seed: Decides the fine search.
    """

    models: tuple[Model, ...]
    capabilities: Capabilities
    base: Floats
    seed: int

    @classmethod
    def fitted(
        cls, name: str, points: Floats, scores: Floats, capabilities: Capabilities, base: Floats, seed: int
    ) -> Surfaces:
        """Fit the family of this name to the scores [M, T] of mixtures [M, N]."""
        fitted = tuple(family(name).fit(points, column, seed) for column in scores.T)
        return cls(fitted, capabilities, base, seed)

    def utility(self, name: str, points: Floats) -> Floats:
        """Predict a utility of mixtures [M, N]. [M]."""
        scores = np.column_stack([model.predict(points) for model in self.models])
        return self.capabilities.of(name, scores, self.base)

    def best(self, name: str, space: Simplex) -> Floats:
        """Return the ratio of the highest predicted utility (arXiv 2601.17858, Sec. 3.2). [N]."""
        generator = np.random.default_rng([self.seed, 1])
        points = spread(space, LOOKED_AT, generator)
        return fine_search(lambda at: self.utility(name, at), space, points, generator).best
