"""Leads over the same examples: which side of 0 the interval is on, and how people read it."""

import math

import numpy as np
import pytest

from m2m.scoring.paired import Lead, paired_lead, weighted_lead


@pytest.mark.parametrize(
    ("low", "high", "apart"), [(-0.1, 0.1, False), (0.01, 0.1, True), (-0.2, -0.1, True), (0.0, 0.0, False)]
)
def test_an_interval_that_holds_zero_tells_nothing_apart(low: float, high: float, apart: bool) -> None:
    assert Lead((low + high) / 2, low, high, 8).tells_apart is apart


def test_a_lead_is_shown_with_its_signs() -> None:
    assert Lead(-0.0347, -0.128, 0.0583, 64).shown == "-0.0347 [-0.128, +0.0583]"


def test_the_interval_of_a_weighted_sum_covers_the_truth_about_19_times_in_20() -> None:
    # A loss and an accuracy, of 150 and 60 examples, in the utility's directions and scales.
    rng, trials, rates = np.random.default_rng(5), 400, (-2.0, 0.5)
    covered = 0
    for _ in range(trials):
        leads = [
            paired_lead((rng.normal(size=150) - 0.2).tolist(), rng.normal(size=150).tolist()),
            paired_lead((rng.random(60) < 0.7).tolist(), (rng.random(60) < 0.6).tolist()),
        ]
        lead = weighted_lead(rates, leads)
        covered += lead.low <= 2.0 * 0.2 + 0.5 * 0.1 <= lead.high
    # Four standard deviations of Binomial(400, 0.95) either way.
    assert abs(covered - 0.95 * trials) < 4 * math.sqrt(trials * 0.95 * 0.05)


def test_a_weighted_sum_of_one_score_is_its_lead_in_the_sums_unit() -> None:
    single = paired_lead([1.0, 2.0, 4.0], [1.5, 1.0, 1.0])
    lead = weighted_lead([-2.0], [single])
    assert (lead.value, lead.n) == (-2.0 * single.value, 3)
    assert (lead.low, lead.high) == pytest.approx((-2.0 * single.high, -2.0 * single.low))
