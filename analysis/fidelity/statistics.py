"""Pearson, Spearman and Kendall for many weightings of the same rows at once.

Estimates, bootstrap resamples (counts) and leave-one-dataset-out replicates (zeros) are the same statistic
under other row counts, so each is written once, over counts `[R, n]`. Rows are compared within their target
only: with one target this is the textbook coefficient (tested against scipy), with several it is the
repeated-measures one (Bland and Altman 1995, BMJ 310:446), for ranks and pairs likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from analysis.fidelity.pairs import pair_sums
from analysis.fidelity.sample import Sample
from m2m.support.arrays import Floats, Ints

#: A coefficient of a sample under R row weightings: counts [R, n] -> [R], NaN where it is not defined.
Statistic = Callable[[Sample, Floats], Floats]


def pearson(sample: Sample, counts: Floats) -> Floats:
    """Correlate target-centred scores.

    Args:
        sample: The paired scores, n rows.
        counts: How often each row occurs. [R, n]

    Returns:
        Pearson's r; NaN where one side is constant within every target. [R]
    """
    moments = np.zeros((3, len(counts)))
    first, second = _unit(sample.merged), _unit(sample.trained)
    for rows in strata(sample):
        moments += _moments(first[rows], second[rows], counts[:, rows])
    return _ratio(*moments)


def spearman(sample: Sample, counts: Floats) -> Floats:
    """Correlate ranks within the target; ties get their mean rank.

    Args:
        sample: The paired scores, n rows.
        counts: How often each row occurs. [R, n]

    Returns:
        Spearman's rho; NaN where one side is constant within every target. [R]
    """
    moments = np.zeros((3, len(counts)))
    for rows in strata(sample):
        weight = counts[:, rows]
        moments += _moments(_ranks(sample.merged[rows], weight), _ranks(sample.trained[rows], weight), weight)
    return _ratio(*moments)


def kendall(sample: Sample, counts: Floats) -> Floats:
    """Count concordant less discordant pairs within the target (tau-b).

    Args:
        sample: The paired scores, n rows.
        counts: How often each row occurs. [R, n]

    Returns:
        Kendall's tau-b; NaN where one side is constant within every target. [R]
    """
    pairs = np.zeros((3, len(counts)))
    for rows in strata(sample):
        pairs += pair_sums(sample.merged[rows], sample.trained[rows], counts[:, rows])
    return _ratio(*pairs)


def strata(sample: Sample) -> Iterator[Ints]:
    """Walk over the targets.

    Args:
        sample: The paired scores.

    Yields:
        Ints: Row numbers of one target. [n_k]
    """
    for stratum in np.unique(sample.stratum):
        yield np.flatnonzero(sample.stratum == stratum)


def _moments(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Return Σwuv, Σwu² and Σwv² of centred values u, v, given [n] or [R, n]. [3, R]."""
    u, v = _centred(first, weight), _centred(second, weight)
    return np.stack([np.sum(weight * a * b, axis=1) for a, b in ((u, v), (u, u), (v, v))])


def _centred(values: Floats, weight: Floats) -> Floats:
    """Return values less their weighted mean; exactly zero if all that occur are equal. [R, n]."""
    values = np.broadcast_to(values, weight.shape)
    occurs = weight > 0
    low = np.min(values, axis=1, where=occurs, initial=np.inf, keepdims=True)
    high = np.max(values, axis=1, where=occurs, initial=-np.inf, keepdims=True)
    total = np.sum(weight, axis=1, keepdims=True)
    mean = np.sum(weight * values, axis=1, keepdims=True) / np.where(total > 0, total, 1)
    return np.where(occurs & (low < high), values - mean, 0.0)


def _ranks(values: Floats, weight: Floats) -> Floats:
    """Return mean ranks of the rows that occur over their number, so that targets count alike. [R, n]."""
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(sizes) - sizes
    equal = np.add.reduceat(weight[:, np.argsort(place, kind="stable")], first, axis=1)
    ranks = np.cumsum(equal, axis=1) - equal + (equal + 1) / 2
    total = np.sum(weight, axis=1, keepdims=True)
    return ranks[:, place] / np.where(total > 0, total, 1)


def _unit(values: Floats) -> Floats:
    """Return values over their largest size, so that no sum of squares overflows. [n]."""
    largest = np.max(np.abs(values), initial=0.0)
    return values / largest if largest > 0 else values


def _ratio(top: Floats, first: Floats, second: Floats) -> Floats:
    """Return top / √(first·second), NaN for 0/0, and never beyond ±1 by a rounding. [R]."""
    defined = (first > 0) & (second > 0)
    product = np.where(defined, first * second, 1)
    # Of equal sums the root is exactly their value, so r is exactly 1; small sums' product may be 0.
    bottom = np.where(product > 0, np.sqrt(product), np.sqrt(first) * np.sqrt(second))
    return np.where(defined, np.clip(top / bottom, -1.0, 1.0), np.nan)
