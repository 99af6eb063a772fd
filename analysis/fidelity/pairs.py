"""Concordant less discordant pairs in n log n: of many row weightings, or of many orders of one side.

All sums are over ordered pairs (i, j). With integer weights every sum is a whole number below 2⁵³ and thus
exact, whatever the order of summation. Knight 1966 (J. Am. Stat. Assoc. 61:436) counts the discordant pairs
while merging; here a radix sort's passes do, since a pass is a few operations on whole arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m2m.support.arrays import Floats, Ints


def pair_sums(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Sum over all pairs of rows, for many row weightings.

    Args:
        first: One side's scores. [n]
        second: The other side's scores. [n]
        weight: How often each row occurs. [R, n]

    Returns:
        Σ wᵢwⱼ uv, Σ wᵢwⱼ u² and Σ wᵢwⱼ v² with u and v the signs of firstᵢ − firstⱼ and secondᵢ − secondⱼ.
        [3, R]
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
    """Sum Σ uv over all pairs as in `pair_sums`, for many orders of the second side.

    Args:
        first: One side's scores. [n]
        second: The other side's scores. [n]
        orders: Which row's second score each row gets. [R, n]

    Returns:
        The sums. [R]
    """
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
