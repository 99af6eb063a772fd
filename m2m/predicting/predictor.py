"""A predictor that knows how far off it is: one family or a stack, with intervals from cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count

import numpy as np

from m2m.errors import InputError
from m2m.predicting.families import AUTO, FAMILIES, family
from m2m.predicting.one_thread import one_thread
from m2m.predicting.protocol import Family, FamilyError, WeightedModels
from m2m.predicting.validation import (
    CrossValidation,
    Folded,
    Rows,
    Tick,
    best_three,
    choose,
    combined,
    folds,
    spearman,
    stack_weights,
)
from m2m.support.arguments import argument
from m2m.support.arrays import Floats, range_fault
from m2m.support.extras import installing
from m2m.support.progress import Progress

#: Name of the stack among the families.
STACK = "stack"
#: 1 − α: how often the interval is meant to hold the true score.
LEVEL = 0.95
#: Mixtures that are predicted at a time.
_CHUNK = 2048
#: Fewest rows whose ranks say anything.
_FEWEST = 5


@dataclass(frozen=True)
class Prediction:
    """Predicted scores, in the score's unit.

    Attributes:
        mean: The predictions. [M]
        std: How far off they are, typically: cross-validated error and disagreement of the folds' models. [M]
        low: Lower ends of the intervals. [M]
        high: Upper ends. [M]
    """

    mean: Floats
    std: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Predictor:
    """One family, or a weighted mean of several, fitted to scored mixtures.

    Attributes:
        name: The family's name, or `stack`.
        weights: Weight by family name; those of weight zero are left out.
        fitted: The models fitted to all rows, in the order of `weights`, as one.
        fold_models: For each fold, the models fitted without it.
        residuals: Out-of-fold error of each row, absolute. [M]
        fold_of: The fold of each row. [M]
        spearman: Cross-validated Spearman's ρ of each family that was tried, and of `auto`'s nested choice.
        notes: What is to be known of it: which families could not be fitted, and why; that all scores are
            the same.
    """

    name: str
    weights: dict[str, float]
    fitted: WeightedModels
    fold_models: Sequence[WeightedModels]
    residuals: Floats
    fold_of: Rows
    spearman: dict[str, float]
    notes: tuple[str, ...] = ()

    def held_out(self, x: Floats) -> Floats:
        """Predict the mixtures it was fitted to, each by what has not seen it.

        Args:
            x: Those mixtures, in the order they were fitted in. [M, N]

        Returns:
            The expected scores. [M]
        """
        predicted = np.empty(len(x))
        for k, models in enumerate(self.fold_models):
            predicted[self.fold_of == k] = models.predict(x[self.fold_of == k])
        return predicted

    def refitted(self, x: Floats, y: Floats, seed: int) -> WeightedModels:
        """Fit the same families, with the same weights, to other rows.

        Args:
            x: Mixture weights; a row is on the simplex. [M, N]
            y: Scores. [M]
            seed: Decides all random choices.

        Returns:
            The fitted models as one; without a family that cannot be fitted to these rows. If none can be,
            the first one's error.
        """
        found, failures = [], []
        with one_thread():
            for name, weight in zip(self.weights, self.fitted.weights, strict=True):
                try:
                    found.append((float(weight), family(name).fit(x, y, seed)))
                except FamilyError as failure:
                    failures.append(failure)
        if not found:
            raise failures[0]
        weights = np.array([weight for weight, _ in found])
        kept = weights / weights.sum() if failures else weights
        return WeightedModels(kept, [model for _, model in found])

    def predict(self, x: Floats) -> Prediction:
        """Predict the scores of mixtures.

        Intervals are CV+ (Barber, Candès, Ramdas & Tibshirani 2021, arXiv 1905.02928, sec. 3): quantiles of
        "prediction without row i's fold ± row i's error" over all rows i, so they widen where the folds'
        models disagree. What they hold for is mixtures drawn like those fitted to.

        Args:
            x: Mixture weights; a row is on the simplex. [M, N]

        Returns:
            The predictions.
        """
        with one_thread():
            parts = [self._predict(x[start : start + _CHUNK]) for start in range(0, max(len(x), 1), _CHUNK)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Prediction(*columns)

    def _predict(self, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        mean = self.fitted.predict(x)
        by_fold = np.column_stack([models.predict(x) for models in self.fold_models])
        spread = ((by_fold - mean[:, None]) ** 2).mean(axis=1)
        std = np.sqrt((self.residuals**2).mean() + spread)
        around = by_fold[:, self.fold_of]
        rows = len(self.residuals)
        rank = min(int(np.ceil(LEVEL * (rows + 1))), rows) - 1
        high = np.partition(around + self.residuals, rank, axis=1)[:, rank]
        low = -np.partition(self.residuals - around, rank, axis=1)[:, rank]
        # With few rows the quantiles need not enclose the prediction of the model that saw them all.
        return mean, std, np.minimum(low, mean), np.maximum(high, mean)


def fit_predictor(
    x: Floats,
    y: Floats,
    model: str = AUTO,
    *,
    seed: int = 0,
    fold_count: int = 5,
    progress: Progress | None = None,
) -> Predictor:
    """Fit one family, or with `auto` whatever predicts held-out rows best.

    `auto` judges three ways of using the families by nested cross-validation, so that what is judged never
    saw the row it is judged on: the family with the best rank correlation, the mean of the best three, and a
    stack of all. A family that cannot be fitted to some of the rows steps aside, which is noted.

    Args:
        x: Mixture weights; a row is on the simplex. [M, N]
        y: Scores. [M]
        model: A family's name, or `auto`.
        seed: Decides all random choices, the folds among them.
        fold_count: Number of folds K.
        progress: Called with (done, total, what).

    Returns:
        The fitted predictor.

    Raises:
        FamilyError: If no family can be fitted.
    """
    families = families_for(model, len(x), x.shape[1], fold_count)
    notes = _checked_scores(y)
    notes += slow_families(model, *x.shape)
    while True:
        try:
            found = _fitted(families, x, y, seed, fold_count, progress)
        except FamilyError as failure:
            if len(families) == 1:
                raise
            notes.append(f"{failure}; it is left out")
            families = [one for one in families if one.name != failure.family]
        else:
            return replace(found, notes=tuple(notes))


def _checked_scores(y: Floats) -> list[str]:
    """What is to be known of the scores; InputError if their squares are no numbers."""
    if not np.isfinite(y).all():
        raise InputError(f"a score is {y[~np.isfinite(y)][0]}; wanted finite numbers")
    if fault := range_fault(y):
        raise InputError(fault)
    said = "all scores are the same: so is every prediction, and a rank correlation of 0 stands for none"
    return [] if np.ptp(y) else [said]


def _fitted(
    families: Sequence[Family], x: Floats, y: Floats, seed: int, fold_count: int, progress: Progress | None
) -> Predictor:
    parts = folds(len(y), fold_count, seed)
    with one_thread():
        tick = _counter(len(families) * _fits(fold_count, len(families)), progress)
        validation = CrossValidation(families, x, y, parts, seed, tick)
        folded = validation.folded()
        choice = _weighted(validation, folded) if len(families) > 1 else _alone(families[0], fold_count)
        used = [(f, float(w)) for f, w in zip(families, choice.weights, strict=True) if w > 0]
        models = [f.fit(x, y, seed) for f, _ in used]
    predicted = combined(folded, choice.by_fold)
    columns = zip(families, folded.predictions.T, strict=True)
    ranks = {f.name: spearman(column, y) for f, column in columns} | {choice.name: spearman(predicted, y)}
    return Predictor(
        used[0][0].name if len(used) == 1 else STACK,
        {f.name: weight for f, weight in used},
        WeightedModels(np.array([weight for _, weight in used]), models),
        [WeightedModels(*pair) for pair in zip(choice.by_fold, folded.models, strict=True)],
        np.abs(predicted - y),
        _numbers(parts),
        ranks,
    )


def families_for(model: str, rows: int, domains: int, fold_count: int) -> list[Family]:
    """Find the families that a name stands for, and refuse what cannot be fitted before anything is scored.

    Args:
        model: A family's name, or `auto`.
        rows: Number of scored mixtures M there will be.
        domains: Number of domains N.
        fold_count: Number of folds K.

    Returns:
        The family; for `auto` all that have rows enough.

    Raises:
        InputError: If rows are too few, or a library is missing; says what helps.
    """
    require_libraries()
    if rows < max(_FEWEST, fold_count):
        raise InputError(
            f"got {rows} scored mixtures, wanted at least {max(_FEWEST, fold_count)}: "
            f"cross-validation in {fold_count} folds has nothing to go by; score more mixtures"
        )
    if model == AUTO:
        return _able(rows, domains, fold_count)
    return [_checked(family(model), rows, domains, fold_count)]


def require_libraries() -> None:
    """Refuse to go on where a library is missing that predictors need."""
    missing = [module for module in ("sklearn", "lightgbm", "threadpoolctl") if find_spec(module) is None]
    if missing:
        raise InputError(f"predictors need {missing[0]}, which is not installed: {installing('tables')}")


def slow_families(model: str, rows: int, domains: int) -> list[str]:
    """Say in a sentence each which families `auto` leaves out because they would take too long."""
    if model != AUTO:
        return []
    return [
        f"{f.name} is left out: {rows} mixtures of {domains} domains take it too long"
        for f in FAMILIES.values()
        if f.domains and not f.in_time(rows, domains)
    ]


@dataclass(frozen=True)
class _FamilyWeights:
    """Weights of the families: for all rows, and fold by fold without looking at the fold."""

    name: str
    weights: Floats
    by_fold: Sequence[Floats]


def _alone(only: Family, fold_count: int) -> _FamilyWeights:
    return _FamilyWeights(only.name, np.ones(1), [np.ones(1)] * fold_count)


def _weighted(validation: CrossValidation, folded: Folded) -> _FamilyWeights:
    """Weights of a choice or of the stack, whichever predicts rows it has not seen better."""
    nested, y = validation.nested(), validation.y
    best: tuple[float, _FamilyWeights] | None = None
    for weigh in (stack_weights, best_three, choose):
        by_fold = nested.weights(weigh, y)
        rank = spearman(combined(folded, by_fold), y)
        if best is None or rank > best[0]:
            best = rank, _FamilyWeights(AUTO, weigh(folded.predictions, y), by_fold)
    assert best is not None
    return best[1]


def _numbers(parts: Sequence[Rows]) -> Rows:
    """The fold of each row, [M]."""
    numbers = np.empty(sum(map(len, parts)), dtype=np.intp)
    for k, part in enumerate(parts):
        numbers[part] = k
    return numbers


def _fits(fold_count: int, families: int) -> int:
    """How often each family is fitted in cross-validation, nested where there is a choice."""
    return fold_count + (fold_count * (fold_count - 1) // 2 if families > 1 else 0)


def _able(rows: int, domains: int, fold_count: int) -> list[Family]:
    # Those of `auto` that have rows enough in the smallest training set there will be.
    fewest = _smallest(rows, fold_count, held_out=2)
    able = [f for f in FAMILIES.values() if f.in_time(rows, domains) and f.rows_needed(domains) <= fewest]
    if not able:
        raise InputError(
            f"{AUTO} needs more scored mixtures: got {rows} in {fold_count} folds, which leaves {fewest} to "
            f"fit; add rows, or take {argument('model', 'ridge')}"
        )
    return able


def _checked(chosen: Family, rows: int, domains: int, fold_count: int) -> Family:
    if rows > chosen.most:
        raise InputError(
            f"{chosen.name} takes at most {chosen.most} scored mixtures, got {rows}: its memory grows with "
            "their square, its time with their cube; take fewer rows, or a "
            f"{argument('model')} that copes (lightgbm)"
        )
    needed, there = chosen.rows_needed(domains), _smallest(rows, fold_count, held_out=1)
    if there < needed:
        raise InputError(
            f"{chosen.name} needs at least {needed} scored mixtures of {domains} domains after a fold is "
            f"held out, got {there} of {rows}; add rows, or take a {argument('model')} that "
            "needs fewer (ridge, gp)"
        )
    return chosen


def _smallest(rows: int, fold_count: int, held_out: int) -> int:
    largest = -(-rows // fold_count)
    return rows - held_out * largest


def _counter(total: int, progress: Progress | None) -> Tick:
    if progress is None:
        return lambda what: None
    done = count(1)
    progress(0, total, "fitting")  # the first fit may take long
    return lambda what: progress(next(done), total, f"fitting {what}")
