"""Coefficients against scipy and closed forms, their laws, and what is said when they are not defined."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from analysis.fidelity import fidelity, intervals
from analysis.fidelity.coefficients import COEFFICIENTS, kendall, pearson, spearman
from analysis.fidelity.correlation import correlation
from analysis.fidelity.intervals import dataset_jackknife, fisher, mixture_jackknife
from analysis.fidelity.scores import Sample

SCIPY = {
    "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
    "kendall": lambda x, y: stats.kendalltau(x, y).statistic,
}
#: Few distinct values, so that ties are common.
TIED = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=20)


def ones(n: int) -> np.ndarray:
    return np.ones((1, n))


def paired(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.array(rows, dtype=float).T
    assume(np.ptp(first) > 0)
    assume(np.ptp(second) > 0)
    return first, second


@pytest.mark.parametrize("name", COEFFICIENTS)
@given(rows=TIED)
def test_agrees_with_scipy_also_with_ties(name: str, rows: list[tuple[int, int]]) -> None:
    first, second = paired(rows)
    [ours] = COEFFICIENTS[name](Sample.single(first, second, None), ones(len(first)))
    # Both sum n products of numbers of size ≤ 6: n roundings, relative to a sum of squares of at least 1/2.
    assert ours == pytest.approx(SCIPY[name](first, second), abs=1e-12)


@pytest.mark.parametrize("name", COEFFICIENTS)
@given(rows=TIED, counts=st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_counts_mean_repeated_rows(name: str, rows: list[tuple[int, int]], counts: list[int]) -> None:
    first, second = paired(rows)
    count = np.array(counts[: len(first)])
    long_first, long_second = np.repeat(first, count), np.repeat(second, count)
    [ours] = COEFFICIENTS[name](Sample.single(first, second, None), count[None, :].astype(float))
    if len(long_first) < 2 or np.ptp(long_first) == 0 or np.ptp(long_second) == 0:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(SCIPY[name](long_first, long_second), abs=1e-12)


@given(rows=TIED, scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_invariances(rows: list[tuple[int, int]], scale: float, shift: float) -> None:
    first, second = paired(rows)
    plain = Sample.single(first, second, None)
    moved = Sample.single(scale * first + shift, second, None)
    bent = Sample.single(np.exp(first), second, None)
    weight = ones(len(first))
    # Shifting by 100 loses at most 100/0.01 of the digits.
    assert pearson(moved, weight) == pytest.approx(pearson(plain, weight), abs=1e-9)
    for ranked in (spearman, kendall):
        assert ranked(bent, weight) == pytest.approx(ranked(plain, weight), abs=1e-12)


@pytest.mark.parametrize("size", [1e-200, 1e-12, 1e200])
def test_very_small_and_very_large_scores(size: float) -> None:
    first, second = np.array([1.0, 2, 4, 5, 7]), np.array([1.0, 3, 2, 5, 9])
    huge = Sample.single(first * size, second * size, None)
    assert pearson(huge, ones(5)) == pytest.approx(SCIPY["pearson"](first, second), abs=1e-12)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_thousands_of_mixtures_are_not_resampled(name: str) -> None:
    rng = np.random.default_rng(7)
    first = rng.integers(0, 50, size=intervals.MANY + 1).astype(float)
    second = first + rng.integers(0, 50, size=len(first))
    estimate = correlation(name, Sample.single(first, second, None), seed=0)
    assert estimate.value == pytest.approx(SCIPY[name](first, second), abs=1e-12)
    assert estimate.p is None
    assert "left out" in estimate.intervals[0].reason
    assert (estimate.low, estimate.method) == (estimate.intervals[1].low, estimate.intervals[1].method)


def test_one_third_is_constant_even_though_its_mean_is_rounded() -> None:
    sample = Sample.single(np.full(7, 1 / 3), np.arange(7.0), None)
    for statistic in COEFFICIENTS.values():
        assert np.isnan(statistic(sample, ones(7))).all()


def test_pooled_pearson_is_the_repeated_measures_correlation() -> None:
    """r² is the share of the within-target variance that a common slope explains (Bland and Altman 1995)."""
    rng = np.random.default_rng(0)
    stratum = np.repeat(np.arange(3), 8)
    first = rng.normal(size=24) + 10 * stratum
    second = -0.8 * first + rng.normal(size=24) - 30 * stratum
    sample = Sample(first, second, stratum, np.tile(np.arange(8), 3), None)
    targets = np.eye(3)[stratum]
    [_, restricted, *_] = np.linalg.lstsq(targets, second)
    [coefficients, full, *_] = np.linalg.lstsq(np.column_stack([targets, first]), second)
    expected = np.sign(coefficients[-1]) * np.sqrt(1 - full[0] / restricted[0])
    assert pearson(sample, ones(24))[0] == pytest.approx(expected, abs=1e-10)


def test_pooling_compares_within_targets_only() -> None:
    """Two targets that agree within themselves and disagree between: Simpson's paradox must not show."""
    first = np.array([0.0, 1, 2, 3, 10, 11, 12, 13])
    second = np.array([10.0, 11, 12, 13, 0, 1, 2, 3])
    sample = Sample(first, second, np.repeat([0, 1], 4), np.tile(np.arange(4), 2), None)
    for statistic in COEFFICIENTS.values():
        assert statistic(sample, ones(8))[0] == pytest.approx(1, abs=1e-12)


def test_every_further_target_costs_the_pooled_interval_a_row() -> None:
    rng = np.random.default_rng(8)
    first = rng.normal(size=24)
    second = first + rng.normal(size=24)
    sample = Sample(first, second, np.repeat(np.arange(3), 8), np.tile(np.arange(8), 3), None)
    pooled = correlation("pearson", sample, seed=0)
    assert pooled.intervals[1] == fisher("pearson", pooled.value, 24 - 2)
    assert pooled.n == 24


def test_fisher_interval_is_scipys() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=12)
    second = first + rng.normal(size=12)
    theirs = stats.pearsonr(first, second)
    ours = fisher("pearson", theirs.statistic, 12)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()), abs=1e-12)


def test_rank_intervals_by_hand() -> None:
    half = 1.959963984540054 * math.sqrt((1 + 0.5**2 / 2) / (20 - 3))
    assert fisher("spearman", 0.5, 20).low == pytest.approx(math.tanh(math.atanh(0.5) - half), abs=1e-12)
    half = 1.959963984540054 * math.sqrt(0.437 / (20 - 4))
    assert fisher("kendall", 0.5, 20).high == pytest.approx(math.tanh(math.atanh(0.5) + half), abs=1e-12)


def test_perfect_agreement_says_that_its_interval_collapses() -> None:
    estimate = correlation("spearman", Sample.single(np.arange(6.0), np.arange(6.0) ** 3, None), seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)
    assert "collapses" in estimate.reason


def pairs_of(names: str) -> tuple[tuple[str, ...], ...]:
    return tuple(combinations(names, 2))


def by_loop(first: np.ndarray, second: np.ndarray, kept: list[list[bool]]) -> tuple[float, float]:
    """Return the jackknife's interval of Pearson's r on the atanh scale, one left out after the other."""
    left = [math.atanh(stats.pearsonr(first[keep], second[keep]).statistic) for keep in kept]
    count = len(left)
    error = math.sqrt((count - 1) / count * np.sum((np.array(left) - np.mean(left)) ** 2))
    reach = stats.t.ppf(0.975, count - 1) * error
    middle = math.atanh(stats.pearsonr(first, second).statistic)
    return math.tanh(middle - reach), math.tanh(middle + reach)


def test_jackknife_over_datasets_against_a_loop() -> None:
    members = pairs_of("abcdef")
    rng = np.random.default_rng(2)
    first = rng.normal(size=15)
    second = first + 0.5 * rng.normal(size=15)
    expected = by_loop(first, second, [[name not in names for names in members] for name in "abcdef"])
    interval = dataset_jackknife(pearson, Sample.single(first, second, members))
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_jackknife_over_mixtures_against_a_loop() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(size=15)
    second = first + 0.5 * rng.normal(size=15)
    expected = by_loop(first, second, [[row != out for row in range(15)] for out in range(15)])
    interval = mixture_jackknife(pearson, Sample.single(first, second, None))
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_a_mixture_is_left_out_on_all_targets() -> None:
    """Two targets with the same scores: as many independent things as one has."""
    rng = np.random.default_rng(3)
    first = rng.normal(size=9)
    second = first + rng.normal(size=9)
    once = mixture_jackknife(pearson, Sample.single(first, second, None))
    rows = np.tile(np.arange(9), 2)
    twice = Sample(np.tile(first, 2), np.tile(second, 2), np.repeat([0, 1], 9), rows, None)
    again = mixture_jackknife(pearson, twice)
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-12)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_tied_scores_of_eight_mixtures_have_an_interval(name: str) -> None:
    """BCa has none there, as its resamples are constant or all equal."""
    sample = Sample.single(np.array([1.0, 1, 2, 2, 3, 3, 4, 4]), np.array([1.0, 2, 2, 2, 3, 4, 3, 4]), None)
    estimate = correlation(name, sample, seed=0)
    assert (estimate.about, estimate.method) == ("new mixtures", "mixture jackknife")
    assert estimate.low is not None
    assert estimate.high is not None
    assert -1 < estimate.low < estimate.value < estimate.high < 1


def test_what_shares_datasets_has_no_textbook_interval() -> None:
    """Whoever shows one pretends that 15 pairs of six datasets are 15 independent things."""
    rng = np.random.default_rng(4)
    first = rng.normal(size=15)
    second = first + 0.5 * rng.normal(size=15)
    estimate = correlation("pearson", Sample.single(first, second, pairs_of("abcdef")), seed=0)
    assert [interval.about for interval in estimate.intervals] == ["these mixtures", "new datasets"]
    assert (estimate.about, estimate.method) == ("new datasets", "dataset jackknife")
    few = correlation("pearson", Sample.single(first[:6], second[:6], pairs_of("abcd")), seed=0)
    assert (few.low, few.high) == (None, None)
    assert few.reason == (
        "these mixtures: training seeds and test examples are not known; "
        "new datasets: cannot be told from fewer than 6 datasets, here are 4"
    )


def test_mixtures_of_other_datasets_each_share_nothing() -> None:
    scores = np.array([1.0, 3, 2, 5, 4])
    members = tuple((f"{k}x", f"{k}y") for k in range(5))
    estimate = correlation("pearson", Sample.single(np.arange(5.0), scores, members), seed=0)
    assert estimate.about == "new mixtures"


@pytest.mark.parametrize(
    ("merged", "trained", "reason"),
    [
        ([1.0, 2, 3], [1.0, 2, 3], "too few"),
        ([], [], "too few"),
        ([1.0, 1, 1, 1], [1.0, 2, 3, 4], "all merged scores are equal"),
        ([1.0, 2, 3, 4], [2.0, 2, 2, 2], "all trained scores are equal"),
        ([1.0, math.nan, 3, 4], [1.0, 2, 3, 4], "1 of 4 mixtures have a score that is not finite"),
        ([1.0, 2, 3, 4], [1.0, math.inf, math.nan, 4], "2 of 4 mixtures"),
    ],
)
def test_what_is_not_defined_has_a_reason_and_no_value(
    merged: list[float], trained: list[float], reason: str
) -> None:
    for name in COEFFICIENTS:
        estimate = correlation(name, Sample.single(np.array(merged), np.array(trained), None), seed=0)
        assert (estimate.value, estimate.low, estimate.high, estimate.p) == (None, None, None, None)
        assert reason in estimate.reason


def test_four_mixtures_have_a_kendall_without_interval() -> None:
    estimate = correlation(
        "kendall", Sample.single(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4]), None), 0
    )
    assert estimate.value == pytest.approx(2 / 3)
    assert estimate.low is None
    assert "too few" in estimate.reason


def noisy(n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a surrogate without error, and two noisy looks at the truth. each [n]"""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return truth, truth + noise * rng.normal(size=n), truth + noise * rng.normal(size=n)


def test_a_surrogate_without_error_reaches_the_ceiling() -> None:
    surrogate, first, second = noisy(4000, 0.8, seed=0)
    ceiling = fidelity(surrogate, first, again=second).ceiling
    reliability = 1 / (1 + 0.8**2)
    # Standard errors of the correlations at n = 4000 are below 0.01.
    assert ceiling.agreement["pearson"].value == pytest.approx(reliability, abs=0.04)
    assert ceiling.attainable["pearson"] == pytest.approx(math.sqrt(reliability), abs=0.04)
    assert ceiling.corrected["pearson"].value == pytest.approx(1, abs=0.04)


def test_by_hand() -> None:
    surrogate, first, second = noisy(12, 0.5, seed=1)
    ceiling = fidelity(surrogate, first, again=second).ceiling
    agreement = stats.spearmanr(first, second).statistic
    assert ceiling.agreement["spearman"].value == pytest.approx(agreement)
    expected = stats.spearmanr(surrogate, first).statistic / math.sqrt(agreement)
    assert ceiling.corrected["spearman"].value == pytest.approx(expected)
    assert ceiling.corrected["spearman"].method == "mixture jackknife"


def test_only_mixtures_with_a_second_seed_count() -> None:
    surrogate, first, second = noisy(12, 0.5, seed=2)
    second[:4] = np.nan
    agreement = fidelity(surrogate, first, again=second).ceiling.agreement["pearson"]
    assert agreement.n == 8
    assert agreement.value == pytest.approx(stats.pearsonr(first[4:], second[4:]).statistic)


def test_no_second_seed() -> None:
    surrogate, first, _ = noisy(8, 0.5, seed=3)
    ceiling = fidelity(surrogate, first).to_json()["ceiling"]["pearson"]
    assert (ceiling["value"], ceiling["attainable"], ceiling["corrected"]["value"]) == (None, None, None)
    assert ceiling["reason"] == "no second training seed"


def test_seeds_that_contradict_each_other_leave_nothing_to_correct() -> None:
    ceiling = fidelity([1, 3, 2, 5, 4, 6], [1, 2, 3, 4, 5, 6], again=[6, 5, 4, 3, 1, 2]).ceiling
    assert ceiling.attainable["pearson"] is None
    assert ceiling.corrected["pearson"].value is None
    assert "no signal" in ceiling.corrected["pearson"].reason
