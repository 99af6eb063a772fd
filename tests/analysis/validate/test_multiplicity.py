"""P-values that agree with intervals, and what is left of verdicts when many claims are asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.validate import Claim, Evidence, judge
from analysis.validate.multiplicity import LEVEL, corrected, expected_false, holm
from analysis.validate.resampling import of_means

CLAIM = Claim("x", "derived", "text", "quantity", 0.0, "above", "something")


@given(st.floats(-3, 3), st.floats(0.01, 3), st.floats(0.01, 3), st.sampled_from([None, 1.0, 5.0]))
def test_p_is_small_exactly_where_the_interval_leaves_the_threshold_out(
    value: float, below: float, above: float, freedom: float | None
) -> None:
    found = Evidence(value, value - below, value + above, 9, "rows", "method", freedom=freedom)
    verdict = judge("run", CLAIM, found)
    assert verdict.p is not None
    assert 0 <= verdict.p <= 0.5
    if verdict.outcome == "unresolved":
        assert verdict.p >= 0.025 * (1 - 1e-9)
    else:
        assert verdict.p <= 0.025 * (1 + 1e-9)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=12).filter(lambda x: np.ptp(x) > 0.1))
def test_p_of_a_mean_is_students(values: list[float]) -> None:
    p = judge("run", CLAIM, of_means([values], "rows")).p
    assert p == pytest.approx(min(stats.ttest_1samp(values, 0).pvalue / 2, 0.5), rel=1e-6, abs=1e-12)


def test_redraws_see_no_smaller_chance_than_one_of_them() -> None:
    certain = Evidence(9.0, 8.9, 9.1, 9, "rows", "method", draws=1999)
    assert judge("run", CLAIM, certain).p == 1 / 2000
    assert judge("run", CLAIM, replace(certain, value=0.5, low=0.5, high=0.5)).p == 1 / 2000
    assert judge("run", CLAIM, replace(certain, value=0.0, low=0.0, high=0.0)).p == 0.5
    # A value outside its own redraws is no reason for another side than theirs.
    assert judge("run", CLAIM, replace(certain, value=-1.0, low=1.0, high=2.0)).p < 0.025


def test_holm_by_hand() -> None:
    assert holm(np.array([0.03, 0.001, 0.02]), 3) == pytest.approx([0.04, 0.003, 0.04])
    assert holm(np.array([0.03, 0.001, 0.02]), 6) == pytest.approx([0.12, 0.006, 0.1])
    assert holm(np.array([0.9, 0.8]), 4) == pytest.approx([1, 1])


def test_a_single_claim_is_judged_as_before_and_many_are_not() -> None:
    one = judge("run", CLAIM, Evidence(2.3, 0.3, 4.3, 9, "rows", "method"))
    other = judge("run", CLAIM, Evidence(0.1, -1.9, 2.1, 9, "rows", "method"))
    nothing = judge("", CLAIM, None)
    assert one.outcome == "holds"
    alone = corrected([one, nothing])
    assert (alone[0].outcome_holm, alone[1].outcome_holm) == ("holds", "unresolved")
    assert (alone[1].p, alone[1].p_holm) == (None, None)
    assert alone[0].p_holm == pytest.approx(2 * one.p)
    crowded = corrected([one, *[other] * 9])
    assert (crowded[0].outcome, crowded[0].outcome_holm) == ("holds", "unresolved")
    assert expected_false(crowded) == pytest.approx(0.25)
    # Another run's claims are another question.
    assert corrected([one, *[replace(other, run="else")] * 9])[0] == alone[0]


def test_few_families_have_a_wrong_verdict() -> None:
    """Claims exactly at their thresholds, half of them one and the same number: the worst case."""
    rng, runs, claims, wrong, raw = np.random.default_rng(0), 500, 20, 0, 0
    for _ in range(runs):
        values = rng.standard_normal(claims)
        values[: claims // 2] = values[0]
        family = [
            judge("run", CLAIM, Evidence(v, v - 1.959964, v + 1.959964, 9, "rows", "method")) for v in values
        ]
        raw += sum(verdict.outcome == "holds" for verdict in family)
        wrong += any(verdict.outcome_holm != "unresolved" for verdict in corrected(family))
    assert wrong <= stats.binom.ppf(1 - 1e-6, runs, LEVEL)
    # On average as many hold as is said; half of them are one draw, whose count varies most.
    deviation = np.sqrt(runs * 0.025 * 0.975 * (10**2 + 10))
    assert raw == pytest.approx(runs * 0.5, abs=5 * deviation)
