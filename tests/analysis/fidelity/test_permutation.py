"""Permutations within sizes: exact for few mixtures, and p rarely small where sizes say it all."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations, permutations, product

import numpy as np
import pytest
from scipy import stats

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.permutation import permutation_p
from analysis.fidelity.scores import Sample

SCIPY = {
    "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
    "kendall": lambda x, y: stats.kendalltau(x, y).statistic,
}


def subsets(names: str) -> tuple[tuple[str, ...], ...]:
    return tuple(c for size in range(1, len(names) + 1) for c in combinations(names, size))


def two_sided(null: np.ndarray, observed: float) -> float:
    # Equal correlations of other orders differ by rounding.
    return min(1, 2 * min(np.mean(null >= observed - 1e-9), np.mean(null <= observed + 1e-9)))


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_exact_for_few_mixtures_of_unknown_datasets(name: str) -> None:
    first = np.array([1.0, 2, 4, 5, 7])
    second = np.array([1.0, 3, 2, 5, 9])
    null = np.array([SCIPY[name](first, second[list(order)]) for order in permutations(range(5))])
    expected = two_sided(null, SCIPY[name](first, second))
    assert permutation_p(name, Sample.single(first, second, None), seed=0) == pytest.approx(expected)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_exact_within_sizes(name: str) -> None:
    """Three pairs trade places; three single datasets and the one triple stay."""
    first = np.array([9.0, 1, 5, 2, 4, 3, 6])
    second = np.array([9.0, 1, 5, 1, 6, 3, 2])
    orders = [list(chain(*order)) for order in product([(0, 1, 2)], permutations((3, 4, 5)), [(6,)])]
    null = np.array([SCIPY[name](first, second[order]) for order in orders])
    expected = two_sided(null, SCIPY[name](first, second))
    sample = Sample.single(first, second, subsets("abc"))
    assert permutation_p(name, sample, seed=0) == pytest.approx(expected)


def test_random_orders_are_within_sizes_too() -> None:
    """Five datasets have too many orders to take all. Merged scores of one size are equal: nothing moves."""
    members = subsets("abcde")
    size = np.array([len(names) for names in members], float)
    trained = size + np.random.default_rng(0).normal(size=len(size))
    assert permutation_p("pearson", Sample.single(size, trained, members), seed=0) == 1.0


def test_nothing_to_exchange_is_no_p() -> None:
    """Single datasets never move, nor does the only mixture of its size."""
    scores = np.array([1.0, 2, 3, 4])
    members = (("a",), ("b",), ("a", "b"), ("a", "b", "c"))
    assert permutation_p("pearson", Sample.single(scores, scores, members), seed=0) is None


def test_every_mixture_is_needed_in_every_target() -> None:
    scores = np.arange(5.0)
    unbalanced = Sample(scores, scores, np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]), None)
    assert permutation_p("pearson", unbalanced, seed=0) is None


def by_size_alone(rng: np.random.Generator, targets: int) -> Sample:
    """Sizes say everything that merged and trained scores share, but for single datasets, which agree."""
    members = subsets("abcd")
    sizes = np.array([len(names) for names in members], float)
    merged, trained = sizes + rng.normal(size=(2, targets, len(members)))
    trained = np.where(sizes == 1, merged, trained)
    rows = np.arange(len(members))
    stratum = np.repeat(np.arange(targets), len(members))
    return Sample(merged.ravel(), trained.ravel(), stratum, np.tile(rows, targets), members)


@pytest.mark.slow
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_p_is_uniform_where_only_sizes_and_singletons_agree(
    coefficient: str, targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exchanging all places alike finds "agreement" in more than half of these samples."""
    monkeypatch.setattr(intervals, "RESAMPLES", 199)
    rng, draws = np.random.default_rng(2), 400
    found, unaware = np.zeros((2, draws))
    for number in range(draws):
        sample = by_size_alone(rng, targets)
        for ps, members in ((found, sample.members), (unaware, None)):
            p = permutation_p(coefficient, replace(sample, members=members), number)
            assert p is not None
            ps[number] = p
    for level in (0.05, 0.25, 0.5):
        # A binomial count leaves these limits once in 1e5. p is a multiple of 2/200, and ties only raise it.
        low, high = stats.binom.ppf([5e-6, 1 - 5e-6], draws, level)
        assert np.sum(found <= level) <= high
        assert np.sum(found <= level + 0.02) >= low
    assert np.mean(unaware <= 0.05) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_small_p_are_rare_with_ties(coefficient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 199)
    rng, draws, found = np.random.default_rng(2), 400, 0
    for number in range(draws):
        first, second = rng.integers(0, 8, size=(2, 14)).astype(float)  # ties too
        p = permutation_p(coefficient, Sample.single(first, second, None), number)
        assert p is not None
        found += p <= 0.05
    # The test is exact or, with ties, conservative: at most 0.05.
    assert found <= stats.binom.ppf(1 - 1e-6, draws, 0.05)
