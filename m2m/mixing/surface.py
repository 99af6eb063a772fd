"""What mixtures are worth, by fitted surfaces, and how sure that is under resampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m2m.predicting import Predictor, WeightedModels, fit_predictor
from m2m.predicting.validation import folds
from m2m.searching import Simplex
from m2m.searching.simplex_optimum import fine_search
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


#: Quantiles that the intervals go from and to.
ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class Uncertainty:
    """What B resamples say about a chosen mixture λ*.

    Attributes:
        choices: What each resample would have chosen. [B, N]
        low: 2.5 % quantile of each share. [N]
        high: 97.5 % quantile of each share. [N]
        regret: Mean of how much less λ* is worth than a resample's own choice, by that resample's surface.
        beats_equal: Share of resamples by whose surface λ* is worth more than equal shares.
    """

    choices: Floats
    low: Floats
    high: Floats
    regret: float
    beats_equal: float


@dataclass(frozen=True)
class Resampling:
    """Draws the examples anew, leaves out a fold of the seeds, and fits the same families again.

    Examples are drawn with replacement, the same ones for every seed, as scores of one example go together.
    The folds left out go round, and are dealt anew after each round.

    Attributes:
        space: The mixtures that are allowed.
        capabilities: What counts. [C]
        points: The seeds. [M, N]
        scores: Every example's score of every seed, by capability. each [M, E]
        predictors: What was fitted to all of it. [C]
        fold_count: Folds that the seeds are dealt into.
        pool: Where the fine search looks first. [P, N]
        seed: Decides all random choices.
    """

    space: Simplex
    capabilities: Sequence[Capability]
    points: Floats
    scores: Mapping[str, Floats]
    predictors: Sequence[Predictor]
    fold_count: int
    pool: Floats
    seed: int

    def assess(self, chosen: Floats, top_k: int | None, resamples: int, progress: Progress) -> Uncertainty:
        """Choose again, on every resample.

        Args:
            chosen: λ*. [N]
            top_k: How many of the best are averaged; None for the argmax.
            resamples: B.
            progress: Called with (done, total, what).

        Returns:
            What came of it.
        """
        equal = np.full(len(chosen), 1 / len(chosen))
        fixed = np.array([chosen, self.space.nearest(equal)])
        choices, gaps, wins = [], [], []
        for number in range(resamples):
            surface = self._surface(number)
            generator = np.random.default_rng([self.seed, number])
            found = fine_search(surface.worth, self.space, self.pool, generator)
            choice = found.best if top_k is None else found.mean_of_top(top_k)
            choices.append(choice)
            own, ours, even = surface.worth(np.vstack([choice, fixed]))
            gaps.append(own - ours)
            wins.append(ours > even)
            progress(number + 1, resamples, "resamples")
        low, high = np.quantile(choices, ENDS, axis=0)
        return Uncertainty(np.array(choices), low, high, float(np.mean(gaps)), float(np.mean(wins)))

    def _surface(self, number: int) -> Surface:
        """Return what resample `number` would have fitted."""
        generator = np.random.default_rng([self.seed, number, 1])
        parts = folds(len(self.points), self.fold_count, self.seed + 1 + number // self.fold_count)
        kept = np.setdiff1d(np.arange(len(self.points)), parts[number % self.fold_count])
        means, models = [], []
        for capability, predictor in zip(self.capabilities, self.predictors, strict=True):
            values = self.scores[capability.name]
            drawn = generator.integers(values.shape[1], size=values.shape[1])
            means.append(values[:, drawn].mean(1))
            models.append(predictor.refitted(self.points[kept], means[-1][kept], number))
        return Surface(models, Utility.over(self.capabilities, np.column_stack(means)))
