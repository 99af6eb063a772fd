"""The utility of mixtures by fitted surfaces, and how sure a choice by it is under resampling."""

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

#: Quantiles that the intervals go from and to.
ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class WeightedTarget:
    """A target that the mixture should be good at, by the metric that counts; all weights sum to 1."""

    name: str
    weight: float
    metric: str
    higher_is_better: bool


@dataclass(frozen=True)
class NormalisedUtility:
    """U = Σ_t weight_t · (score_t − worst_t) / (best_t − worst_t), worst and best over the starting mixtures.

    MergeMix (arXiv 2601.17858, Sec. 3.2) takes the mean of normalised scores and leaves the normalisation
    open. This one makes targets in different units count alike.

    Attributes:
        weights: Weight by target. [T]
        worst: The worst scores. [T]
        ranges: The best scores minus the worst, negative for losses; 1 where all are equal. [T]
    """

    weights: Floats
    worst: Floats
    ranges: Floats

    @classmethod
    def over(cls, targets: Sequence[WeightedTarget], scores: Floats) -> NormalisedUtility:
        """Take worst and best from the scores [M, T] of the starting mixtures."""
        upwards = np.array([target.higher_is_better for target in targets])
        worst = np.where(upwards, scores.min(0), scores.max(0))
        ranges = np.where(upwards, scores.max(0), scores.min(0)) - worst
        weights = np.array([target.weight for target in targets])
        return cls(weights, worst, np.where(ranges == 0, 1.0, ranges))

    def of(self, scores: Floats) -> Floats:
        """Return the utilities [M] of scores [M, T]; 1 is the best starting mixture's in everything."""
        return np.asarray((scores - self.worst) / self.ranges @ self.weights)


@dataclass(frozen=True)
class Surface:
    """Fitted models, one a target, and the utility of what they predict."""

    models: Sequence[WeightedModels]
    utility: NormalisedUtility

    def scores(self, points: Floats) -> Floats:
        """Predict the scores [M, T] of mixtures [M, N]."""
        return np.column_stack([model.predict(points) for model in self.models])

    def utilities(self, points: Floats) -> Floats:
        """Predict the utilities [M] of mixtures [M, N]."""
        return self.utility.of(self.scores(points))


def fit_predictors(
    targets: Sequence[WeightedTarget],
    points: Floats,
    scores: Mapping[str, Floats],
    model: str,
    folds: int,
    seed: int,
    progress: Progress,
) -> list[Predictor]:
    """Fit a predictor for each target, to mixtures [M, N] and every example's score of each [M, E]."""

    def tell(name: str) -> Progress:
        return lambda done, total, what: progress(done, total, f"{what} to {name}")

    return [
        fit_predictor(
            points,
            scores[target.name].mean(1),
            model,
            seed=seed,
            fold_count=folds,
            progress=tell(target.name),
        )
        for target in targets
    ]


@dataclass(frozen=True)
class MixtureUncertainty:
    """What B resamples say about a chosen mixture λ*.

    Attributes:
        choices: What each resample would have chosen. [B, N]
        low: 2.5 % quantile of each share. [N]
        high: 97.5 % quantile of each share. [N]
        regret: Mean of how far λ*'s utility is below that of a resample's own choice, by its surface.
        beats_equal: Share of resamples by whose surface λ* has a higher utility than equal shares.
    """

    choices: Floats
    low: Floats
    high: Floats
    regret: float
    beats_equal: float


@dataclass(frozen=True)
class Resampling:
    """Draws the examples anew, leaves out a fold of the starting mixtures, and fits the same families again.

    Examples are drawn with replacement, the same ones for every mixture, as scores of one example go
    together. The folds left out go round, and are dealt anew after each round.

    Attributes:
        space: The mixtures that are allowed.
        targets: What counts. [T]
        points: The starting mixtures. [M, N]
        scores: Every example's score of each of them, by target. each [M, E]
        predictors: What was fitted to all of it. [T]
        fold_count: Folds that the starting mixtures are dealt into.
        looked_at: Where the fine search looks first. [P, N]
        seed: Decides all random choices.
    """

    space: Simplex
    targets: Sequence[WeightedTarget]
    points: Floats
    scores: Mapping[str, Floats]
    predictors: Sequence[Predictor]
    fold_count: int
    looked_at: Floats
    seed: int

    def assess(
        self, chosen: Floats, top_k: int | None, resamples: int, progress: Progress
    ) -> MixtureUncertainty:
        """Choose again on every resample: the mean of the `top_k` best, or the argmax; λ* is `chosen` [N]."""
        equal = np.full(len(chosen), 1 / len(chosen))
        fixed = np.array([chosen, self.space.nearest(equal)])
        choices, gaps, wins = [], [], []
        for number in range(resamples):
            surface = self._surface(number)
            generator = np.random.default_rng([self.seed, number])
            found = fine_search(surface.utilities, self.space, self.looked_at, generator)
            choice = found.best if top_k is None else found.mean_of_top(top_k)
            choices.append(choice)
            own, ours, even = surface.utilities(np.vstack([choice, fixed]))
            gaps.append(own - ours)
            wins.append(ours > even)
            progress(number + 1, resamples, "resamples")
        low, high = np.quantile(choices, ENDS, axis=0)
        return MixtureUncertainty(np.array(choices), low, high, float(np.mean(gaps)), float(np.mean(wins)))

    def _surface(self, number: int) -> Surface:
        """What resample `number` would have fitted."""
        generator = np.random.default_rng([self.seed, number, 1])
        parts = folds(len(self.points), self.fold_count, self.seed + 1 + number // self.fold_count)
        kept = np.setdiff1d(np.arange(len(self.points)), parts[number % self.fold_count])
        means, models = [], []
        for target, predictor in zip(self.targets, self.predictors, strict=True):
            values = self.scores[target.name]
            drawn = generator.integers(values.shape[1], size=values.shape[1])
            means.append(values[:, drawn].mean(1))
            models.append(predictor.refitted(self.points[kept], means[-1][kept], number))
        return Surface(models, NormalisedUtility.over(self.targets, np.column_stack(means)))
