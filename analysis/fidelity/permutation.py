"""Permutation test of "merged scores say nothing about which of the mixtures of one size is better".

Scores trade places only among mixtures of the same number of datasets, and those of single datasets not at
all: that sizes differ, and that a merged single dataset is the trained one, would otherwise pass for
agreement. Where the datasets are not known there is one class, and the null is "no association".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
from scipy import stats

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import permuted_pair_sums
from analysis.fidelity.scores import Sample
from m2m.support.arrays import Floats, Ints

#: Permutations that are looked at together: their scores stay in the processor's cache.
_BATCH = 250


def permutation_p(coefficient: str, sample: Sample, seed: int) -> float | None:
    """Return the two-sided p-value of shuffling trained scores within sizes, on all targets alike.

    All permutations are taken if they are at most `intervals.RESAMPLES`, else so many random ones (and the
    one that was found, so that p is never 0). Two-sided: twice the smaller tail.

    Args:
        coefficient: `pearson`, `spearman` or `kendall`.
        sample: The scores; mixtures without a row are none.
        seed: Seed of the random permutations.

    Returns:
        The p-value; None above `intervals.MANY` mixtures, if some target lacks some mixture (scores cannot be
        exchanged then), or if no two mixtures have the same size.
    """
    mixtures = sample.mixtures
    if sample.n != mixtures * sample.strata or mixtures > intervals.MANY:
        return None
    rows = np.lexsort((sample.mixture, sample.stratum)).reshape(sample.strata, mixtures)
    sizes = sample.sizes[rows[0]]
    ways = math.prod(math.factorial(count) for count in _exchanged(sizes).values())
    if ways == 1:
        return None
    targets = [_exchangeable(coefficient, sample, target) for target in rows]
    together = permuted_pair_sums if coefficient == "kendall" else _permuted_products
    exact = ways <= intervals.RESAMPLES
    orders = _every_order(sizes) if exact else _random_orders(sizes, np.random.default_rng(seed))
    parts = np.array_split(orders, -(-len(orders) // _BATCH))
    sums = np.concatenate([np.sum([together(*pair, part) for pair in targets], axis=0) for part in parts])
    [found] = np.sum([together(*pair, np.arange(mixtures)[None]) for pair in targets], axis=0)
    slack = 0.0 if coefficient == "kendall" else _rounding(targets)  # pairs are counted in whole numbers
    tails = [int(np.sum(sums >= found - slack)), int(np.sum(sums <= found + slack))]
    own = 0 if exact else 1
    return min(1.0, 2 * (min(tails) + own) / (len(orders) + own))


def _exchanged(sizes: Ints) -> dict[int, int]:
    """Return each size whose mixtures may trade places, and how many there are."""
    kinds, counts = np.unique(sizes, return_counts=True)
    return {int(size): int(count) for size, count in zip(kinds, counts, strict=True) if size != 1}


def _every_order(sizes: Ints) -> Ints:
    """Return all orders that leave sizes as they are. [R, n]."""

    def orders() -> Iterator[Ints]:
        classes = [np.flatnonzero(sizes == size) for size in _exchanged(sizes)]
        for drawn in product(*(permutations(rows) for rows in classes)):
            order = np.arange(len(sizes))
            for rows, new in zip(classes, drawn, strict=True):
                order[rows] = new
            yield order

    return np.array(list(orders()))


def _random_orders(sizes: Ints, rng: np.random.Generator) -> Ints:
    """Return random orders that leave sizes as they are, and single datasets in their places. [R, n]."""
    by_size = np.argsort(sizes, kind="stable")
    # A random number below 1 beside the size shuffles within it; places that stay are as they were.
    chance = rng.random((intervals.RESAMPLES, len(sizes)))
    drawn = np.argsort(sizes + np.where(sizes == 1, 0.0, chance), axis=1, kind="stable")
    orders = np.empty_like(drawn)
    orders[:, by_size] = drawn
    return orders


def _exchangeable(coefficient: str, sample: Sample, rows: Ints) -> tuple[Floats, Floats]:
    """Return one target's values, such that the coefficient rises with their sums of products or pairs."""
    merged, trained = sample.merged[rows], sample.trained[rows]
    if coefficient == "kendall":
        return merged, trained
    if coefficient == "spearman":
        merged, trained = stats.rankdata(merged), stats.rankdata(trained)
    return merged - merged.mean(), trained - trained.mean()


def _rounding(targets: list[tuple[Floats, Floats]]) -> float:
    """Return how far sums of the same products may lie apart: each addition rounds by half an ulp."""
    largest = sum(float(np.sum(np.abs(first)) * np.max(np.abs(second))) for first, second in targets)
    return sum(len(first) for first, _ in targets) * float(np.finfo(float).eps) * largest


def _permuted_products(first: Floats, second: Floats, orders: Ints) -> Floats:
    sums: Floats = np.sum(first * second[orders], axis=1)
    return sums
