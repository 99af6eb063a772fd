"""Every interval holds the truth as often as it says, in samples drawn from models whose truth is known.

The count of hits is binomial. Limits are its quantiles at 1e-6 on either side if the chance were 0.95
exactly; for 600 draws these are 0.903 and 0.987, wider than what formulas right to 1/n miss at these n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from helpers.benchmarks import benchmark
from scipy import stats

from analysis.fidelity import mixed_effects
from analysis.fidelity.coefficients import COEFFICIENTS, pearson
from analysis.fidelity.intervals import (
    Interval,
    IntervalEstimate,
    dataset_jackknife,
    fisher,
)
from analysis.fidelity.regression import from_correlation
from analysis.fidelity.scores import Points, Sample

pytestmark = pytest.mark.slow
coverage = benchmark("fidelity_coverage")
#: What docs/theory.md says that the jackknife over mixtures covers at least: Pearson, and both ranks.
STATED = {
    "normal": (0.95, 0.96),
    "t3 errors": (0.88, 0.93),
    "far points": (0.87, 0.89),
    "heavy tails": (0.91, 0.92),
    "skewed": (0.91, 0.94),
}
DRAWS = 600
RHO = 0.7


def hits(draw: Callable[[np.random.Generator], Interval], truth: float, draws: int = DRAWS) -> int:
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(draws)]
    assert all(i.low is not None and i.high is not None for i in found)
    return sum(i.low <= truth <= i.high for i in found)


def limits(draws: int = DRAWS, chance: float = 0.95) -> tuple[float, float]:
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], draws, chance)
    return float(low), float(high)


def pair(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    first = rng.normal(size=shape)
    return first, RHO * first + math.sqrt(1 - RHO**2) * rng.normal(size=shape)


def true_value(coefficient: str) -> float:
    return {
        "pearson": RHO,
        "spearman": 6 / math.pi * math.asin(RHO / 2),
        "kendall": 2 / math.pi * math.asin(RHO),
    }[coefficient]


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_textbook(coefficient: str) -> None:
    def draw(rng: np.random.Generator) -> Interval:
        sample = Sample.single(*pair(rng, 100), None)
        return fisher(coefficient, float(COEFFICIENTS[coefficient](sample, np.ones((1, 100)))[0]), 100)

    low, high = limits()
    # Fieller's 0.437 is the variance at moderate ρ; at 0.7 it is conservative: only too few hits are wrong.
    assert low <= hits(draw, true_value(coefficient)) <= (DRAWS if coefficient == "kendall" else high)


@pytest.mark.parametrize("n", [11, 57])
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("shape", STATED)
def test_jackknife_of_scores_that_are_not_normal(shape: str, coefficient: str, n: int) -> None:
    draws, stated = 150, STATED[shape][coefficient != "pearson"]
    _, found = coverage.alone(coverage.SHAPES[shape], coefficient, n, 0.9, draws)
    assert found >= stats.binom.ppf(1e-5, draws, stated) / draws


@pytest.mark.parametrize("own", [0.2, 1.0])
def test_all_subsets_of_six_datasets(own: float) -> None:
    """What is said of new datasets holds; the textbook's 57 independent mixtures are far fewer."""
    draws = 150
    textbook, jackknife, _ = coverage.shared("pearson", 6, 0.85, own, draws)
    low, _ = limits(draws)
    assert jackknife * draws >= low > textbook * draws


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize(("seeds", "tests"), [(0.3, 0.1), (0.1, 0.3), (0.8, 0.3)])
def test_these_mixtures_trained_and_tested_again(coefficient: str, seeds: float, tests: float) -> None:
    """Covers 0.90 to 0.98, as docs/theory.md says, also where noise is as large as the signal."""
    draws = 150
    found = coverage.repeated(coefficient, 11, 0.9, seeds, tests, draws)
    assert found * draws >= stats.binom.ppf(1e-5, draws, 0.9)


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize(("seeds", "tests"), [(0.3, 0.3), (0.3, 1.0)])
def test_a_utility_of_two_targets_trained_and_tested_again(
    coefficient: str, seeds: float, tests: float
) -> None:
    draws = 150
    found = coverage.repeated(coefficient, 11, 0.9, seeds, tests, draws, targets=2)
    assert found * draws >= stats.binom.ppf(1e-5, draws, 0.9)


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize("noise", [0.05, 0.8])
def test_two_seeds_held_against_each_other(coefficient: str, noise: float) -> None:
    draws = 150
    found = coverage.seeds_agree(coefficient, 11, noise, draws)
    assert found * draws >= stats.binom.ppf(1e-5, draws, 0.9)


def pairs_of_datasets(rng: np.random.Generator, count: int) -> Sample:
    """Scores of all pairs of datasets, each the sum of what its two datasets are worth."""
    merged, trained = pair(rng, count)
    first, second = np.array(list(combinations(range(count), 2))).T
    members = tuple((str(i), str(j)) for i, j in zip(first, second, strict=True))
    return Sample.single(merged[first] + merged[second], trained[first] + trained[second], members)


def test_dataset_jackknife_where_rows_share_datasets() -> None:
    def draw(rng: np.random.Generator) -> Interval:
        return dataset_jackknife(pearson, pairs_of_datasets(rng, 30))

    def textbook(rng: np.random.Generator) -> Interval:
        sample = pairs_of_datasets(rng, 30)
        return fisher("pearson", float(pearson(sample, np.ones((1, sample.n)))[0]), sample.n)

    low, high = limits()
    assert low <= hits(draw, RHO) <= high
    # 435 rows, 30 independent things: an interval of 1/√435 where 1/√30 is right, so most miss.
    assert hits(textbook, RHO) < low


def several_targets(rng: np.random.Generator, targets: int, n: int) -> Sample:
    merged, trained = pair(rng, targets, n)
    level = np.array([[10.0], [-3.0], [0.0], [5.0]])
    stratum = np.repeat(np.arange(targets), n)
    flat = (merged + level).ravel(), (trained - level).ravel()
    return Sample(*flat, stratum, np.tile(np.arange(n), targets), None)


def test_repeated_measures() -> None:
    def correlation(rng: np.random.Generator) -> Interval:
        sample = several_targets(rng, 4, 20)
        value = float(pearson(sample, np.ones((1, sample.n)))[0])
        return fisher("pearson", value, sample.effective_n)

    def slope(rng: np.random.Generator) -> Interval:
        sample = several_targets(rng, 4, 20)
        value = float(pearson(sample, np.ones((1, sample.n)))[0])
        found = from_correlation(sample, IntervalEstimate(value, None, None, sample.n)).slope
        assert found is not None
        return found

    low, high = limits()
    assert low <= hits(correlation, RHO) <= high
    assert low <= hits(slope, RHO) <= high  # exactly 0.95: normal errors of one variance


def test_mixed_effects() -> None:
    """Slopes vary between targets; in standard deviations one is s/√(s² + 0.4²), β the mean of that."""
    draws, rng, found = 200, np.random.default_rng(1), 0
    slopes = 0.8 + 0.2 * rng.normal(size=1_000_000)
    truth = np.mean(slopes / np.hypot(slopes, 0.4))
    for _ in range(draws):
        points = []
        for number, slope in enumerate(0.8 + 0.2 * rng.normal(size=6)):
            merged = rng.normal(size=100)
            trained = slope * merged + 0.4 * rng.normal(size=100)
            nothing, labels = np.full(100, np.nan), tuple(map(str, range(100)))
            points.append(Points(f"t{number}", "m", True, labels, None, merged, trained, nothing))
        estimate = mixed_effects(points).slope
        assert estimate.low is not None
        assert estimate.high is not None
        found += estimate.low <= truth <= estimate.high
    low, _ = limits(draws)
    assert low <= found
