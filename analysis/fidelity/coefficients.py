"""Pearson, Spearman and Kendall for many weightings of the same rows at once.

Estimates, bootstrap resamples (counts) and leave-one-dataset-out replicates (zeros) are the same statistic
under other row counts, so each is written once, over counts `[R, n]`. Rows are compared within their target
only: with one target this is the textbook coefficient (tested against scipy), with several it is the
repeated-measures one (Bland and Altman 1995, BMJ 310:446), for ranks and pairs likewise.

Pairs are counted in n log n. All sums are over ordered pairs (i, j). With integer weights every sum is a
whole number below 2⁵³ and thus exact, whatever the order of summation. Knight 1966 (J. Am. Stat. Assoc.
61:436) counts the discordant pairs while merging; here a radix sort's passes do, since a pass is a few
operations on whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.fidelity.scores import Sample
from m2m.support.arrays import Floats, Ints

#: A coefficient of a sample under R row weightings: counts [R, n] -> [R], NaN where it is not defined.
Statistic = Callable[[Sample, Floats], Floats]


def pair_sums(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Return Σ wᵢwⱼ uv, Σ wᵢwⱼ u² and Σ wᵢwⱼ v² over all pairs of rows, for row weights [R, n]. [3, R].

    u and v are the signs of firstᵢ − firstⱼ and secondᵢ − secondⱼ.
    """
    places, others = _places(first), _places(second)
    order = np.lexsort((others, places))
    both = _places((places * (others.max(initial=0) + 1) + others).astype(np.float64))
    whole = weight.sum(axis=1) ** 2
    differs, other_differs, apart = (whole - _tied(key, weight) for key in (places, others, both))
    against = _inversions(others[None, order], weight[:, order])
    # Pairs tied on one side only are in neither product: differs + other_differs − apart are untied on both.
    return np.stack([differs + other_differs - apart - 4 * against, differs, other_differs])


def permuted_pair_sums(first: Floats, second: Floats, orders: Ints) -> Floats:
    """Return Σ uv as in `pair_sums`, for orders [R, n]: which row's second score each row gets. [R]."""
    places, others = _places(first), _places(second)
    kinds = int(others.max(initial=0)) + 1
    keys = np.sort(places * kinds + others[orders], axis=1)
    one = np.ones((1, len(first)))
    tied_in_both = np.sum(2 * (np.arange(len(first)) - _run_starts(keys)) + 1, axis=1)
    apart = len(first) ** 2 - _tied(places, one) - _tied(others, one)
    total: Floats = apart + tied_in_both - 4 * _inversions(keys % kinds, one)
    return total


def _places(scores: Floats) -> Ints:
    """Return each score's place among the different ones, from 0. [n]."""
    places: Ints = np.unique(scores, return_inverse=True)[1]
    return places


def _tied(places: Ints, weight: Floats) -> Floats:
    """Return Σ wᵢwⱼ over pairs in the same place, rows with themselves among them. [R]."""
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    groups = np.add.reduceat(weight[:, order], starts, axis=1) if len(places) else weight
    total: Floats = np.sum(groups**2, axis=1)
    return total


def _run_starts(keys: NDArray[np.integer]) -> Ints:
    """Return where the run of equal keys that each element is in begins. [R, n]."""
    new = np.diff(keys, axis=1, prepend=-1) != 0
    starts: Ints = np.maximum.accumulate(np.where(new, np.arange(keys.shape[1]), 0), axis=1)
    return starts


def _inversions(places: Ints, weight: Floats) -> Floats:
    """Return Σ wᵢwⱼ over i < j with placesᵢ > placesⱼ; places or weight may have one row for all. [R]."""
    total = np.zeros(max(len(places), len(weight)))
    small = np.min_scalar_type(places.max(initial=0))  # numpy sorts short numbers in linear time
    for bit in reversed(range(int(places.max(initial=0)).bit_length())):
        # Elements lie in runs that agree in all higher bits, in their first order within each.
        high = (places >> bit & 1).astype(np.float64)
        above = weight * high
        before = np.cumsum(above, axis=1)
        at_start = np.take_along_axis(before - above, _run_starts(places >> (bit + 1)), axis=1)
        total += np.sum(weight * (1 - high) * (before - at_start), axis=1)
        order = np.argsort((places >> bit).astype(small), axis=1, kind="stable")
        places = np.take_along_axis(places, order, axis=1)
        weight = np.take_along_axis(weight, order, axis=1)
    return total


def pearson(sample: Sample, counts: Floats) -> Floats:
    """Correlate target-centred scores under row counts [R, n]; NaN where a side is constant. [R]."""
    moments = np.zeros((3, len(counts)))
    first, second = _unit(sample.merged), _unit(sample.trained)
    for rows in strata(sample):
        moments += _moments(first[rows], second[rows], counts[:, rows])
    return _ratio(*moments)


def spearman(sample: Sample, counts: Floats) -> Floats:
    """Correlate ranks within the target, ties at their mean rank, under row counts [R, n]. [R]."""
    moments = np.zeros((3, len(counts)))
    for rows in strata(sample):
        weight = counts[:, rows]
        moments += _moments(_ranks(sample.merged[rows], weight), _ranks(sample.trained[rows], weight), weight)
    return _ratio(*moments)


def kendall(sample: Sample, counts: Floats) -> Floats:
    """Count concordant less discordant pairs within the target (tau-b), under row counts [R, n]. [R]."""
    pairs = np.zeros((3, len(counts)))
    for rows in strata(sample):
        pairs += pair_sums(sample.merged[rows], sample.trained[rows], counts[:, rows])
    return _ratio(*pairs)


def of_redraws(coefficient: str, first: Floats, second: Floats, stratum: Ints) -> Floats:
    """Compute `pearson` or `spearman` of R redraws of both scores, each compared within its target.

    As `COEFFICIENTS` on one redraw after the other, all rows counted once; where those weigh rows of the same
    scores, here scores themselves change.

    Args:
        coefficient: Its name.
        first: One side's scores. [R, n]
        second: The other's. [R, n]
        stratum: Number of each row's target. [n]

    Returns:
        The coefficient of each redraw, NaN where a side is constant. [R]
    """
    moments = np.zeros((3, len(first)))
    first, second = _unit(first), _unit(second)  # a redraw at a time: equal sides stay equal to the bit
    for target in np.unique(stratum):
        rows = np.flatnonzero(stratum == target)
        one, other = first[:, rows], second[:, rows]
        if coefficient == "spearman":
            one, other = (stats.rankdata(part, axis=1) / len(rows) for part in (one, other))
        moments += _moments(one, other, np.ones(one.shape))
    return _ratio(*moments)


#: Every coefficient by its name.
COEFFICIENTS: dict[str, Statistic] = {"pearson": pearson, "spearman": spearman, "kendall": kendall}


def of_rescored(coefficient: str, sample: Sample, merged: Floats, trained: Floats) -> Floats:
    """Return a coefficient of the same rows under R other sets of scores. [R].

    Args:
        coefficient: `pearson`, `spearman` or `kendall`.
        sample: Says which rows are of one target; its scores are not looked at.
        merged: Other merged scores. [R, n]
        trained: Other trained scores. [R, n]
    """
    sums = np.zeros((3, len(merged)))
    for rows in strata(sample):
        first, second = merged[:, rows], trained[:, rows]
        if coefficient == "kendall":
            sums += _sign_sums(first, second)
        elif coefficient == "spearman":
            first, second = (stats.rankdata(scores, axis=1) / len(rows) for scores in (first, second))
            sums += _moments(first, second, np.ones_like(first))
        else:
            sums += _moments(first, second, np.ones_like(first))
    return _ratio(*sums)


def _sign_sums(first: Floats, second: Floats) -> Floats:
    """Return what `pair_sums` does for scores [R, n], from all pairs of a row. [3, R]."""
    sums = np.empty((3, len(first)))
    for row, scores in enumerate(zip(first, second, strict=True)):
        u, v = (np.sign(side[:, None] - side) for side in scores)
        sums[:, row] = np.sum(u * v), np.sum(u * u), np.sum(v * v)
    return sums


def strata(sample: Sample) -> Iterator[Ints]:
    """Yield the row numbers of one target after the other. each [n_k]."""
    for stratum in np.unique(sample.stratum):
        yield np.flatnonzero(sample.stratum == stratum)


def _moments(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Return Σwuv, Σwu² and Σwv² of centred values u, v, each given as [n] or [R, n]. [3, R]."""
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
    """Return values over their row's largest size, so that no sum of squares overflows. [..., n]."""
    largest = np.max(np.abs(values), axis=-1, keepdims=True, initial=0.0)
    unit: Floats = values / np.where(largest > 0, largest, 1)
    return unit


def _ratio(top: Floats, first: Floats, second: Floats) -> Floats:
    """Return top / √(first·second), NaN for 0/0, and never beyond ±1 by a rounding. [R]."""
    defined = (first > 0) & (second > 0)
    with np.errstate(over="ignore"):
        product = np.where(defined, first * second, 1)
    # Of equal sums the root is exactly their value, so r is exactly 1; the product of sums that are small or
    # large may be 0 or infinite.
    whole = (product > 0) & np.isfinite(product)
    bottom = np.where(whole, np.sqrt(product), np.sqrt(first) * np.sqrt(second))
    return np.where(defined, np.clip(top / bottom, -1.0, 1.0), np.nan)
