"""Estimates with intervals: reasons where there is too little, ranges that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.validate import resampling
from analysis.validate.resampling import LOG, LOGIT, jackknife, of_means, over_datasets, over_mixtures


def test_intervals_cover_what_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """95 % of the draws, give or take four deviations of a binomial."""
    monkeypatch.setattr(resampling, "RESAMPLES", 399)
    rng = np.random.default_rng(1)
    students, resampled, nodes, truth = 0, 0, 0, np.exp(0.09)  # of log-normal pairs
    for draw in range(300):
        values = rng.standard_normal(30)
        found = of_means([values], "rows")
        students += found.low <= 0 <= found.high
        if draw < 60:
            again = over_mixtures(lambda chosen, v=values: float(v[chosen].mean()), 30, draw, "rows")
            resampled += again.low <= 0 <= again.high
        effects = 0.3 * rng.standard_normal(8)
        left = over_datasets(np.exp(effects[:, None] + effects[None, :]), "pairs", LOG)
        nodes += left.low <= truth <= left.high
    slack = 4 * np.sqrt(0.05 * 0.95 * 300)
    assert students >= 285 - slack
    assert nodes >= 285 - slack
    assert resampled >= 57 - 4 * np.sqrt(0.05 * 0.95 * 60)


def test_too_little_gives_a_reason() -> None:
    assert of_means([[1.0]], "rows").reason == "1 rows: too few"
    equal = of_means([[0.0, 0.0, 0.0]], "rows")
    assert (equal.value, equal.low, equal.reason[:22]) == (0, None, "all 3 rows are equal: ")
    assert over_datasets(np.eye(2), "pairs", LOG).reason == "2 datasets: three are needed"
    rounded = [0.3, 0.1 + 0.2, 0.3]
    assert "all 3 rows are equal" in of_means([rounded], "rows").reason
    holes = np.array([[1.0, np.nan, 0.2], [np.nan, 1.0, 0.1], [0.2, 0.1, 1.0]])
    for missing in (over_datasets(holes, "pairs", LOG), of_means([[1.0, np.nan, np.inf, 2, 3, 4]], "pairs")):
        assert (missing.value, missing.low, missing.high) == (None, None, None)
        assert missing.reason == "2 of 6 pairs have no number"
    nothing = over_mixtures(lambda chosen: float("nan"), 4, 0, "rows")
    assert (nothing.value, nothing.reason) == (None, "nothing to measure it on")
    seldom = over_mixtures(lambda chosen: 1.0 if 0 in chosen else float("nan"), 4, 0, "rows")
    assert seldom.value == 1
    assert "of 1999 resamples" in seldom.reason


@given(st.integers(3, 8), st.integers(0, 10**6), st.floats(0.05, 3))
def test_intervals_stay_in_range(n: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.standard_normal((n, n)) * spread
    cosines = 1 / (1 + np.exp(-pairs - pairs.T))
    bounded, positive = over_datasets(cosines, "pairs", LOGIT), over_datasets(np.exp(pairs), "pairs", LOG)
    for found, top in ((bounded, 1), (positive, np.inf)):
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= top


def test_what_has_no_place_on_the_scale_has_no_interval() -> None:
    orthogonal = over_datasets(np.eye(4), "pairs", LOGIT)
    assert (orthogonal.value, orthogonal.low) == (0, None)
    assert orthogonal.reason == "a value lies at the end of its range"


def test_the_jackknife_of_logarithms_by_hand() -> None:
    found = jackknife(2.0, np.array([1.0, 2.0, 4.0]), LOG, 3, "rows", "jackknife")
    # Logarithms −1, 0, 1 of base 2: variance 2/3 · 2, and t = 4.303 on two degrees of freedom.
    assert np.log2(found.high / 2) == pytest.approx(4.30265 * np.sqrt(4 / 3), rel=1e-5)
    assert found.low * found.high == pytest.approx(4)
    assert found.freedom == 2
