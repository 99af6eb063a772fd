"""A predicted residual is never longer than half the way, and where there is no number there is a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.outlook import LARGEST_SHARE, cut_factors, predicted_fidelity

LENGTH = st.just(0.0) | st.floats(1e-9, 1e9)
LENGTHS = st.lists(st.tuples(LENGTH, LENGTH), min_size=1, max_size=8)


@given(LENGTHS)
def test_changes_are_cut_to_half_the_way(pairs: list[tuple[float, float]]) -> None:
    change, travel = np.array(pairs).T
    factors = cut_factors(change, travel)
    assert ((factors >= 0) & (factors <= 1)).all()
    # One division and one product, each rounded once.
    assert (factors * change <= LARGEST_SHARE * travel * (1 + 2**-51)).all()
    assert (factors[change <= LARGEST_SHARE * travel] == 1).all()


@given(st.floats(0.1, 10), st.floats(-5, 5), st.permutations(range(6)))
def test_prediction_has_no_unit_and_no_order(scale: float, shift: float, order: list[int]) -> None:
    rng = np.random.default_rng(0)
    merged, moved = rng.normal(size=(2, 6))
    value, reason = predicted_fidelity(merged, moved)
    again, _ = predicted_fidelity(scale * merged[order] + shift, moved[order])
    assert reason == ""
    assert value is not None
    assert again == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("merged", "moved", "reason"),
    [
        ([1, 2, 3], [1, 2, 3], "a correlation takes 4"),
        ([1, 2, 3, math.inf], [1, 2, 3, 4], "not finite"),
        ([1, 1, 1, 1], [1, 2, 3, 4], "one loss"),
    ],
)
def test_where_there_is_no_number_there_is_a_reason(
    merged: list[float], moved: list[float], reason: str
) -> None:
    value, why = predicted_fidelity(np.array(merged, float), np.array(moved, float))
    assert value is None
    assert reason in why
