"""Leads over the same examples: which side of 0 the interval is on, and how people read it."""

import pytest

from m2m.scoring.paired import Lead


@pytest.mark.parametrize(
    ("low", "high", "apart"), [(-0.1, 0.1, False), (0.01, 0.1, True), (-0.2, -0.1, True), (0.0, 0.0, False)]
)
def test_an_interval_that_holds_zero_tells_nothing_apart(low: float, high: float, apart: bool) -> None:
    assert Lead((low + high) / 2, low, high, 8).tells_apart is apart


def test_a_lead_is_shown_with_its_signs() -> None:
    assert Lead(-0.0347, -0.128, 0.0583, 64).shown == "-0.0347 [-0.128, +0.0583]"
