"""Regret over evaluations: the mean over all draws, the search's own order, and whose scores count."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.pipeline.report.evaluations import evaluations
from m2m.pipeline.report.scored import Scored, ScoredTarget

SCORES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=2, max_size=7)


def target(pairs: list[tuple[int, int]], *, trained: bool, higher: bool) -> ScoredTarget:
    mixtures = [
        Scored(f"m{place}", {"a": 1.0}, float(merged), {0: float(truth)} if trained else {})
        for place, (merged, truth) in enumerate(pairs)
    ]
    return ScoredTarget("t", "accuracy", higher, 0.0, mixtures)


def lost(pairs: list[tuple[int, int]], drawn: tuple[int, ...], *, trained: bool, sign: int) -> float:
    """What the best merged of those drawn, the first among equals, loses."""
    column = 1 if trained else 0
    pick = max(drawn, key=lambda place: (sign * pairs[place][0], -place))
    return max(sign * pair[column] for pair in pairs) - sign * pairs[pick][column]


@given(SCORES, st.booleans(), st.booleans())
def test_by_chance_is_the_mean_over_all_draws(pairs, trained, higher):
    found = evaluations(target(pairs, trained=trained, higher=higher))
    assert found is not None
    assert found.measured is trained
    sign = 1 if higher else -1
    places = range(len(pairs))
    for count, by_chance, in_order in zip(found.counts, found.by_chance, found.in_order, strict=True):
        draws = [lost(pairs, drawn, trained=trained, sign=sign) for drawn in combinations(places, count)]
        # A sum of at most 7 products of at most 7 factors, of numbers up to 9.
        assert by_chance == pytest.approx(np.mean(draws), abs=60 * 9 * np.finfo(float).eps)
        assert in_order == lost(pairs, tuple(range(count)), trained=trained, sign=sign)


def test_one_mixture_has_no_curve():
    assert evaluations(target([(1, 1)], trained=True, higher=True)) is None


def test_trained_scores_count_only_where_all_have_one():
    half = target([(1, 1), (2, 2)], trained=True, higher=True)
    some = ScoredTarget("t", "accuracy", True, None, [*half.mixtures, Scored("m", {"b": 1.0}, 3.0)])
    found = evaluations(some)
    assert found is not None
    assert not found.measured
    assert found.of == 3
