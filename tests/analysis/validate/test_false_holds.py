"""Where targets share all trained models, claims hold wrongly no more often than one time in forty.

Each quantity is drawn at its threshold, with a part of every score common to all targets: none, most or all.
Limits are binomial quantiles at 1e-6 of the nominal 0.025.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.validate import resampling
from analysis.validate.choices import of_choices_on, regret_shares
from analysis.validate.evidence import among_the_best
from analysis.validate.grid import Grid
from analysis.validate.ratios import smoothness
from analysis.validate.resampling import of_means
from m2m.mixture import all_subsets

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("common", [0.0, 0.9, 1.0])]
TARGETS = 6
MIXTURES = tuple(all_subsets("abcd"))


def scores(rng: np.random.Generator, columns: int, common: float) -> np.ndarray:
    shared, own = rng.standard_normal((1, columns)), rng.standard_normal((TARGETS, columns))
    return np.sqrt(common) * shared + np.sqrt(1 - common) * own


def most(draws: int) -> float:
    return float(stats.binom.ppf(1 - 1e-6, draws, 0.025))


def test_smoother(common: float) -> None:
    """Merged and trained curves are of the same noise, so that their ratio is 1 in the mean of logarithms."""
    rng, draws, holds, by_targets = np.random.default_rng(0), 1000, 0, 0
    for _ in range(draws):
        merged, trained = scores(rng, 9, common), scores(rng, 9, common)
        holds += smoothness(merged, trained).high < 1
        rough = [np.log((np.diff(curve, 2, axis=1) ** 2).mean(1)) for curve in (merged, trained)]
        by_targets += (
            found := of_means([rough[0] - rough[1]], "targets")
        ).high is not None and found.high < 0
    assert holds <= most(draws)
    if common == 0.9:  # so that this can fail: targets taken as independent hold wrongly one time in five
        assert by_targets > 0.1 * draws


def test_near_oracle(common: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """True regrets of half a random pick's and a little more, seen through two noisy trainings."""
    monkeypatch.setattr(resampling, "RESAMPLES", 199)
    rng, draws, tried, holds = np.random.default_rng(1), 200, 0, 0
    while tried < draws:
        truth = scores(rng, 15, common)
        merged = 0.5 * truth + 0.75**0.5 * scores(rng, 15, common)
        if not 0.5 <= regret_shares(np.argmax(merged, axis=1), truth).mean() <= 0.6:
            continue
        noise = rng.choice([0.05, 0.1, 0.3, 1.0])
        seeds = [truth + noise * scores(rng, 15, common) for _ in range(2)]
        grid = Grid(tuple("tuvwxy"), MIXTURES, np.zeros(TARGETS), merged, *seeds)
        holds += of_choices_on(grid, tried)["near_oracle"].high < 0.5
        tried += 1
    assert holds <= most(draws)


def test_no_top_breakdown(common: float) -> None:
    """Within the best quarter merged scores are noise."""
    rng, draws, holds = np.random.default_rng(2), 500, 0
    for _ in range(draws):
        found = among_the_best(scores(rng, 57, common), scores(rng, 57, common))
        assert found.low is not None
        holds += found.low > 0
    assert holds <= most(draws)
