"""Two surrogates held against the same truth: how much more one is worth, and how sure that is.

Targets are what could have been others, so the interval is a jackknife over targets, with Student's t. They
share the trainings, whose noise no target averages away: each mixture in turn gets its other seed's scores on
all targets at once, and half the squares of what that changes are added (as in `analysis.fidelity.leads`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy import stats

from analysis.fidelity import IntervalEstimate
from analysis.fidelity.coefficients import of_redraws
from m2m.support.arrays import Floats

#: What a surrogate is worth beside a truth, over targets: [T, n] twice → a number.
Worth = Callable[[Floats, Floats], float]
#: Fewer targets say nothing about others.
FEWEST = 3
_METHOD = "jackknife over targets, Student's t"
_WITH_SEEDS = f"{_METHOD}, and the variance of training seeds"


def correlations(coefficient: str, surrogate: Floats, truth: Floats) -> Floats:
    """Return `pearson` or `spearman` on each target, NaN where scores are constant. [T, n] twice → [T]."""
    return of_redraws(coefficient, surrogate, truth, np.zeros(truth.shape[1], dtype=np.int64))


def spearman(surrogate: Floats, truth: Floats) -> float:
    """Return the mean of the targets' Spearman correlations."""
    return float(np.mean(correlations("spearman", surrogate, truth)))


def pearson(surrogate: Floats, truth: Floats) -> float:
    """Return the mean of the targets' Pearson correlations."""
    return float(np.mean(correlations("pearson", surrogate, truth)))


def regret(surrogate: Floats, truth: Floats) -> float:
    """Return what targets' picks lack to the best, as a share of the range, mean over targets."""
    picked = np.take_along_axis(truth, np.argmax(surrogate, axis=1)[:, None], axis=1)[:, 0]
    best, worst = np.max(truth, axis=1), np.min(truth, axis=1)
    return float(np.mean((best - picked) / np.where(best > worst, best - worst, 1.0)))


def regret_of_pairs(surrogate: Floats, truth: Floats) -> float:
    """Return the mean regret over sums of two targets, each in standard deviations of its own scores."""
    return regret(_pairs(surrogate), _pairs(truth))


def _pairs(scores: Floats) -> Floats:
    spread = np.std(scores, axis=1, keepdims=True)
    scaled = scores / np.where(spread > 0, spread, 1.0)
    return np.array([scaled[i] + scaled[j] for i, j in combinations(range(len(scores)), 2)])


def more_gain(own: Floats, other: Floats) -> float:
    """Return how much more is gained, mean over all models and targets."""
    return float(np.mean(own) - np.mean(other))


#: Ends are cut where no value can be.
RANGES: dict[Worth, tuple[float, float]] = {
    spearman: (-1.0, 1.0),
    pearson: (-1.0, 1.0),
    regret: (0.0, 1.0),
    regret_of_pairs: (0.0, 1.0),
}


def worth(of: Worth, surrogate: Floats, truth: Floats) -> IntervalEstimate:
    """Measure what a surrogate is worth, mean over training seeds.

    Args:
        of: What is asked.
        surrogate: Scores, higher for better. [T, n]
        truth: Scores of trained models, a layer a training seed. [S, T, n]

    Returns:
        It with its interval for other targets and seeds; `n` is targets times mixtures.
    """
    found = _estimated(lambda kept, layer: of(surrogate[kept], layer[kept]), truth)
    least, most = RANGES.get(of, (-math.inf, math.inf))
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, least), high=min(found.high, most))


def lead(of: Worth, surrogate: Floats, other: Floats, truth: Floats) -> IntervalEstimate:
    """Measure how much more a surrogate is worth than another one; as `worth`, and paired."""
    return _estimated(
        lambda kept, layer: of(surrogate[kept], layer[kept]) - of(other[kept], layer[kept]), truth
    )


def _estimated(found: Callable[[list[int], Floats], float], truth: Floats) -> IntervalEstimate:
    targets = list(range(truth.shape[1]))
    n = truth.shape[1] * truth.shape[2]

    def mean(kept: list[int]) -> float:
        return float(np.mean([found(kept, layer) for layer in truth]))

    value = mean(targets)
    if not math.isfinite(value):
        return IntervalEstimate(None, None, None, n, _METHOD, "scores of a target are constant")
    count = len(targets)
    if count < FEWEST:
        reason = f"cannot be told from fewer than {FEWEST} targets"
        return IntervalEstimate(value, None, None, n, _METHOD, reason)
    without = [mean([t for t in targets if t != left]) for left in targets]
    variance = float(np.var(without)) * (count - 1)
    seeds = _variance_of_seeds(lambda layer: found(targets, layer), truth)
    method = _METHOD if seeds is None else _WITH_SEEDS
    total = variance + (seeds or 0.0)
    if total == 0:
        return IntervalEstimate(value, None, None, n, method, "the same without any target, in any seed")
    reach = float(stats.t.ppf(0.975, count - 1)) * math.sqrt(total)
    return IntervalEstimate(value, value - reach, value + reach, n, method)


def _variance_of_seeds(found: Callable[[Floats], float], truth: Floats) -> float | None:
    """Estimate the variance of a mean over seeds that other trainings would bring; None for one seed."""
    if len(truth) < 2:
        return None
    first, second = truth[:2]
    whole, changes = found(first), []
    for mixture in range(first.shape[1]):
        swapped = first.copy()
        swapped[:, mixture] = second[:, mixture]
        changes.append(found(swapped) - whole)
    return float(np.sum(np.square(changes))) / 2 / len(truth)
