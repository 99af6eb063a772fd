"""What mixtures are worth: a fitted surface for each capability, and the utility that trades them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m2m.predicting import Predictor, WeightedModels, fit_predictor
from m2m.support.arrays import Floats
from m2m.support.progress import Progress


@dataclass(frozen=True)
class Capability:
    """Something that the mixture should be good at.

    Attributes:
        name: The target's name.
        weight: Its weight in the utility; all of them sum to 1.
        metric: The metric that counts.
        higher_is_better: The metric's direction.
    """

    name: str
    weight: float
    metric: str
    higher_is_better: bool


@dataclass(frozen=True)
class Utility:
    """U = Σ_c weight_c · (score_c − worst_c) / (best_c − worst_c), worst and best over the seeds.

    MergeMix (arXiv 2601.17858, Sec. 3.2) takes the mean of normalised scores and leaves the normalisation
    open. This one makes capabilities in different units count alike.

    Attributes:
        weights: Weight by capability. [C]
        worst: The seeds' worst scores. [C]
        ranges: The seeds' best scores minus their worst, negative for losses; 1 where all are equal. [C]
    """

    weights: Floats
    worst: Floats
    ranges: Floats

    @classmethod
    def over(cls, capabilities: Sequence[Capability], scores: Floats) -> Utility:
        """Take the normalisation from scores.

        Args:
            capabilities: What counts how much. [C]
            scores: Scores of the seeds. [M, C]

        Returns:
            The utility.
        """
        upwards = np.array([c.higher_is_better for c in capabilities])
        worst = np.where(upwards, scores.min(0), scores.max(0))
        ranges = np.where(upwards, scores.max(0), scores.min(0)) - worst
        weights = np.array([c.weight for c in capabilities])
        return cls(weights, worst, np.where(ranges == 0, 1.0, ranges))

    def of(self, scores: Floats) -> Floats:
        """Return what scores are worth.

        Args:
            scores: Scores by capability. [M, C]

        Returns:
            The utilities; 1 is the best of the seeds in everything. [M]
        """
        return np.asarray((scores - self.worst) / self.ranges @ self.weights)


@dataclass(frozen=True)
class Surface:
    """Fitted models of every capability, and the utility over them.

    Attributes:
        models: One a capability. [C]
        utility: What their scores are worth.
    """

    models: Sequence[WeightedModels]
    utility: Utility

    def scores(self, points: Floats) -> Floats:
        """Predict the scores of mixtures.

        Args:
            points: A mixture a row. [M, N]

        Returns:
            Scores by capability. [M, C]
        """
        return np.column_stack([model.predict(points) for model in self.models])

    def worth(self, points: Floats) -> Floats:
        """Predict the utility of mixtures.

        Args:
            points: A mixture a row. [M, N]

        Returns:
            The utilities. [M]
        """
        return self.utility.of(self.scores(points))


def fit_predictors(
    capabilities: Sequence[Capability],
    points: Floats,
    scores: Mapping[str, Floats],
    model: str,
    folds: int,
    seed: int,
    progress: Progress,
) -> list[Predictor]:
    """Fit a predictor for each capability.

    Args:
        capabilities: The capabilities. [C]
        points: The seeds. [M, N]
        scores: Every example's score of every seed, by capability. each [M, E]
        model: A family of `m2m.predicting`, or `auto`.
        folds: Folds of the cross-validation.
        seed: Decides all random choices.
        progress: Called with (done, total, what).

    Returns:
        The predictors. [C]
    """

    def tell(name: str) -> Progress:
        return lambda done, total, what: progress(done, total, f"{what} to {name}")

    return [
        fit_predictor(
            points, scores[c.name].mean(1), model, seed=seed, fold_count=folds, progress=tell(c.name)
        )
        for c in capabilities
    ]
