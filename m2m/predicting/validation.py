"""Cross-validation without leaks: out-of-fold predictions, and nested ones to judge a choice or a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from m2m.predicting.protocol import Family, Model
from m2m.support.arrays import Floats

#: Row numbers. [M]
Rows = NDArray[np.intp]
#: From out-of-fold predictions [M, L] and true scores [M] to weights [L] that sum to 1.
Weigher = Callable[[Floats, Floats], Floats]
#: Called after each fit.
Tick = Callable[[str], None]


def folds(rows: int, count: int, seed: int) -> list[Rows]:
    """Deal the row numbers into folds of equal size, give or take one; each ascending."""
    order = np.random.default_rng(seed).permutation(rows)
    return [np.sort(part) for part in np.array_split(order, count)]


def spearman(predicted: Floats, truth: Floats) -> float:
    """Rank correlation, ties given their mean rank; 0 where one side does not vary.

    Args:
        predicted: Predicted scores. [M]
        truth: True scores. [M]

    Returns:
        Spearman's ρ.
    """
    from scipy.stats import rankdata

    if np.ptp(predicted) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(predicted), rankdata(truth))[0, 1])


def stack_weights(predictions: Floats, truth: Floats) -> Floats:
    """Weigh families by non-negative least squares over out-of-fold predictions [M, L] (Breiman 1996)."""
    # The weights [L] sum to 1, so that the stack stays between its members; all on one where none are found.
    from scipy.optimize import nnls

    # With Σw = 1 the stack's residuals are the same combination of the members' residuals.
    residuals = predictions - truth[:, None]
    unit = float(np.abs(residuals).max())
    if unit == 0:
        return np.full(predictions.shape[1], 1 / predictions.shape[1])
    # A heavy last row holds the sum near 1; the division makes it exact.
    heavy = 1e3 * np.sqrt(len(truth))
    rows = np.vstack([residuals / unit, np.full(predictions.shape[1], heavy)])
    try:
        weights, _ = nnls(rows, np.r_[np.zeros(len(truth)), heavy])
    except RuntimeError:  # out of iterations
        weights = np.zeros(predictions.shape[1])
    # Where nothing is found the best family stands for the stack, which is then judged like any other choice.
    total = float(weights.sum())
    return np.asarray(weights / total, dtype=np.float64) if total > 0 else choose(predictions, truth)


def choose(predictions: Floats, truth: Floats) -> Floats:
    """Choose one family by rank: all weight [L] on the highest Spearman's ρ, the first of equals."""
    ranks = [spearman(column, truth) for column in predictions.T]
    chosen: Floats = np.eye(len(ranks))[int(np.argmax(ranks))]
    return chosen


def best_three(predictions: Floats, truth: Floats) -> Floats:
    """Average the three families of the highest Spearman's ρ: with few rows, finer weights are noise."""
    # Weights [L]; of fewer than three families, equal shares.
    ranks = [spearman(column, truth) for column in predictions.T]
    chosen = np.argsort(-np.array(ranks), kind="stable")[:3]
    weights = np.zeros(len(ranks))
    weights[chosen] = 1 / len(chosen)
    return weights


@dataclass(frozen=True)
class Folded:
    """Families fitted without each fold.

    Attributes:
        parts: The K folds.
        models: The models fitted without fold k, one a family. [K][L]
        predictions: Of each row, by the models that have not seen it. [M, L]
    """

    parts: Sequence[Rows]
    models: Sequence[Sequence[Model]]
    predictions: Floats


@dataclass(frozen=True)
class Nested:
    """Predictions by models that have not seen a row's fold nor the fold that is judged.

    Attributes:
        parts: The K folds.
        inner: For each fold k that is judged: predictions of all other rows. each [M, L]
    """

    parts: Sequence[Rows]
    inner: Sequence[Floats]

    def weights(self, weigh: Weigher, truth: Floats) -> list[Floats]:
        """Find the weights [L] for each fold from the other folds alone."""
        others = [_others(len(truth), part) for part in self.parts]
        return [weigh(inner[rows], truth[rows]) for inner, rows in zip(self.inner, others, strict=True)]


@dataclass(frozen=True)
class CrossValidation:
    """Fits families to the rows outside of folds.

    Attributes:
        families: L families.
        x: Mixture weights. [M, N]
        y: Scores. [M]
        parts: The K folds.
        seed: Decides all random choices of the families.
        tick: Called after each fit with the family's name.
    """

    families: Sequence[Family]
    x: Floats
    y: Floats
    parts: Sequence[Rows]
    seed: int
    tick: Tick

    def folded(self) -> Folded:
        """Fit every family without each fold."""
        predictions = np.empty((len(self.y), len(self.families)))
        models = []
        for part in self.parts:
            fitted = self._without(part)
            predictions[part] = _predict(fitted, self.x[part])
            models.append(fitted)
        return Folded(self.parts, models, predictions)

    def nested(self) -> Nested:
        """Fit every family without each pair of folds."""
        # A model that has seen neither fold j nor fold k serves twice: it predicts fold j where fold k is
        # judged, and fold k where fold j is. So nested cross-validation takes K(K − 1)/2 more fits instead of
        # K(K − 1).
        inner = [np.full((len(self.y), len(self.families)), np.nan) for _ in self.parts]
        for j, k in combinations(range(len(self.parts)), 2):
            fitted = self._without(self.parts[j], self.parts[k])
            for judged, part in ((k, self.parts[j]), (j, self.parts[k])):
                inner[judged][part] = _predict(fitted, self.x[part])
        return Nested(self.parts, inner)

    def _without(self, *held_out: Rows) -> list[Model]:
        rows, fitted = _others(len(self.y), *held_out), []
        for family in self.families:
            fitted.append(family.fit(self.x[rows], self.y[rows], self.seed))
            self.tick(family.name)
        return fitted


def combined(folded: Folded, weights: Sequence[Floats]) -> Floats:
    """Predict every row [M] by the weights [L] of its fold."""
    result = np.empty(len(folded.predictions))
    for part, own in zip(folded.parts, weights, strict=True):
        result[part] = folded.predictions[part] @ own
    return result


def _others(rows: int, *held_out: Rows) -> Rows:
    return np.setdiff1d(np.arange(rows), np.concatenate(held_out))


def _predict(models: Sequence[Model], x: Floats) -> Floats:
    return np.column_stack([model.predict(x) for model in models])
