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
    """Deal the rows into folds of equal size, give or take one.

    Args:
        rows: Number of rows M.
        count: Number of folds.
        seed: Decides who goes where.

    Returns:
        The rows of each fold, ascending.
    """
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
    """Weigh families by non-negative least squares over out-of-fold predictions (Breiman 1996).

    Args:
        predictions: Out-of-fold predictions, a column a family. [M, L]
        truth: True scores. [M]

    Returns:
        Weights that sum to 1, so that the stack stays between its members; all on one where none are found.
            [L]
    """
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
    """Choose one family by rank: all weight on the highest Spearman's ρ, the first of equals.

    Args:
        predictions: Out-of-fold predictions, a column a family. [M, L]
        truth: True scores. [M]

    Returns:
        1 for the chosen family, 0 for the others. [L]
    """
    ranks = [spearman(column, truth) for column in predictions.T]
    chosen: Floats = np.eye(len(ranks))[int(np.argmax(ranks))]
    return chosen


def best_three(predictions: Floats, truth: Floats) -> Floats:
    """Average the three families of the highest Spearman's ρ: with few rows, finer weights are noise.

    Args:
        predictions: Out-of-fold predictions, a column a family. [M, L]
        truth: True scores. [M]

    Returns:
        1/3 for the chosen families, 0 for the others; of fewer than three, equal shares. [L]
    """
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


def fit_folds(
    families: Sequence[Family], x: Floats, y: Floats, parts: Sequence[Rows], seed: int, tick: Tick
) -> Folded:
    """Fit every family without each fold.

    Args:
        families: L families.
        x: Mixture weights. [M, N]
        y: Scores. [M]
        parts: The folds.
        seed: Decides all random choices of the families.
        tick: Called after each fit with the family's name.

    Returns:
        The models and their out-of-fold predictions.
    """
    predictions = np.empty((len(y), len(families)))
    models = []
    for part in parts:
        rows = _without(len(y), part)
        fitted = _fit(families, x[rows], y[rows], seed, tick)
        predictions[part] = _predict(fitted, x[part])
        models.append(fitted)
    return Folded(parts, models, predictions)


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
        """Find the weights for each fold from the other folds alone.

        Args:
            weigh: Finds weights from out-of-fold predictions.
            truth: True scores. [M]

        Returns:
            The weights, fold by fold. each [L]
        """
        others = [_without(len(truth), part) for part in self.parts]
        return [weigh(inner[rows], truth[rows]) for inner, rows in zip(self.inner, others, strict=True)]


def fit_nested(
    families: Sequence[Family], x: Floats, y: Floats, parts: Sequence[Rows], seed: int, tick: Tick
) -> Nested:
    """Fit every family without each pair of folds.

    A model that has seen neither fold j nor fold k serves twice: it predicts fold j where fold k is judged,
    and fold k where fold j is. So nested cross-validation takes K(K − 1)/2 more fits instead of K(K − 1).

    Args:
        families: L families.
        x: Mixture weights. [M, N]
        y: Scores. [M]
        parts: The folds.
        seed: Decides all random choices of the families.
        tick: Called after each fit with the family's name.

    Returns:
        The inner predictions.
    """
    inner = [np.full((len(y), len(families)), np.nan) for _ in parts]
    for j, k in combinations(range(len(parts)), 2):
        rows = _without(len(y), parts[j], parts[k])
        fitted = _fit(families, x[rows], y[rows], seed, tick)
        inner[k][parts[j]] = _predict(fitted, x[parts[j]])
        inner[j][parts[k]] = _predict(fitted, x[parts[k]])
    return Nested(parts, inner)


def combined(folded: Folded, weights: Sequence[Floats]) -> Floats:
    """Predict every row by the weights of its fold.

    Args:
        folded: The out-of-fold predictions.
        weights: Weights of the families, fold by fold. each [L]

    Returns:
        The weighted predictions. [M]
    """
    result = np.empty(len(folded.predictions))
    for part, own in zip(folded.parts, weights, strict=True):
        result[part] = folded.predictions[part] @ own
    return result


def _without(rows: int, *held_out: Rows) -> Rows:
    return np.setdiff1d(np.arange(rows), np.concatenate(held_out))


def _fit(families: Sequence[Family], x: Floats, y: Floats, seed: int, tick: Tick) -> list[Model]:
    fitted = []
    for family in families:
        fitted.append(family.fit(x, y, seed))
        tick(family.name)
    return fitted


def _predict(models: Sequence[Model], x: Floats) -> Floats:
    return np.column_stack([model.predict(x) for model in models])
