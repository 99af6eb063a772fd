"""Sample sizes: the closed form inverts the interval; simulated samples have the width and the coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.fidelity import fidelity, mixtures_needed
from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.intervals import SMALLEST, fisher
from analysis.fidelity.power import power
from m2m.errors import InputError

SAMPLES = 400


def width(coefficient: str, value: float, n: int) -> float:
    interval = fisher(coefficient, value, n)
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


@given(
    coefficient=st.sampled_from(sorted(COEFFICIENTS)),
    value=st.floats(-0.98, 0.98),
    wanted=st.floats(0.02, 1.9),
)
def test_n_is_the_smallest_that_is_narrow_enough(coefficient: str, value: float, wanted: float) -> None:
    n = mixtures_needed(coefficient, value, wanted)
    # n rounds up a float: it may be one row off where the width is met to the last digits.
    assert width(coefficient, value, n) <= wanted * (1 + 1e-9)
    if n > SMALLEST[coefficient]:
        assert width(coefficient, value, n - 1) > wanted * (1 - 1e-9)


def test_bonett_and_wright_by_hand() -> None:
    """At ρ = 0: tanh(h) = 0.1 for width 0.2, n = 3 + (1.959964 / 0.1003353)² = 384.6."""
    assert mixtures_needed("pearson", 0.0, 0.2) == 385
    assert mixtures_needed("pearson", 0.0, 0.2, design_effect=2.0) == 767


@pytest.mark.parametrize(("coefficient", "rho"), [("pearson", 0.8), ("spearman", 0.6)])
def test_simulated_samples_are_as_narrow_and_cover(coefficient: str, rho: float) -> None:
    truth = rho if coefficient == "pearson" else 6 / math.pi * math.asin(rho / 2)
    n = mixtures_needed(coefficient, truth, 0.3)
    draws = np.random.default_rng(5).multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=(SAMPLES, n))
    values = [_coefficient(coefficient, pairs) for pairs in draws]
    widths = [width(coefficient, value, n) for value in values]
    ends = [fisher(coefficient, value, n) for value in values]
    covered = sum(i.low <= truth <= i.high for i in ends)
    # A binomial count with chance 0.95 is this low or high once in 1e6; Fisher's z is right to O(1/n).
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], SAMPLES, 0.95)
    assert low <= covered <= high
    # The median width is that at the median estimate; its standard error is below 1.3 s/√SAMPLES.
    assert abs(np.median(widths) - 0.3) < 6 * 1.3 * np.std(widths) / math.sqrt(SAMPLES) + 1 / n


def _coefficient(name: str, pairs: np.ndarray) -> float:
    first, second = pairs.T
    correlate = stats.pearsonr if name == "pearson" else stats.spearmanr
    return float(correlate(first, second).statistic)


def test_plans_follow_what_was_found() -> None:
    rng = np.random.default_rng(0)
    names = "abcd"
    members = [tuple(c for i, c in enumerate(names) if bits >> i & 1) for bits in range(1, 2 ** len(names))]
    merged = rng.normal(size=len(members))
    found = fidelity(merged, merged + 0.7 * rng.normal(size=len(members)), members=members)
    plans = power(found.mixtures, len(names))["pearson"]
    assert plans.value == found.mixtures.pearson.value
    assert plans.design_effect is not None
    assert plans.design_effect >= 1
    for plan in plans.plans:
        assert plan.dependent is not None
        assert plan.dependent >= plan.mixtures
        assert 2**plan.datasets - 1 >= plan.dependent > 2 ** (plan.datasets - 1) - 1


def test_without_members_rows_are_taken_as_independent() -> None:
    found = fidelity([1, 2, 3, 4, 6, 5], [2, 1, 3, 4, 6, 5])
    plans = power(found.mixtures, 0)["pearson"]
    assert (plans.design_effect, plans.plans[0].dependent) == (None, None)
    assert "independent" in plans.reason


@pytest.mark.parametrize("asked", [("pearson", 1.0, 0.2), ("pearson", 0.5, 2.0), ("pearsen", 0.5, 0.2)])
def test_nonsense_is_refused(asked: tuple[str, float, float]) -> None:
    with pytest.raises(InputError, match=r"wanted|no coefficient"):
        mixtures_needed(*asked)
