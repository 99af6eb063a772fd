"""A correction by trained pairs: Scheffé's sum, exact wherever the residual is quadratic."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import InputError
from m2m.predicting import PairCorrection
from m2m.searching.simplex_optimum import lattice
from m2m.support.arrays import Floats


def twin(pairs: dict[tuple[int, int], float], point: Floats) -> float:
    """Add up 4 Δ(½, ½) λ_k λ_j, term by term."""
    return sum(4 * residual * point[k] * point[j] for (k, j), residual in pairs.items())


def middles(n: int) -> Floats:
    """All pairs in equal parts, in the order of `combinations`."""
    return lattice(n)[n:]


@given(st.integers(2, 6), st.integers(0, 1000))
def test_it_is_the_sum_over_pairs(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    residuals, points = generator.standard_normal(n * (n - 1) // 2), generator.dirichlet(np.ones(n), 7)
    found = PairCorrection.through("abcdef"[:n], middles(n), residuals).at(points)
    pairs = dict(zip(combinations(range(n), 2), residuals.tolist(), strict=True))
    # Two products and a sum of at most fifteen terms below 4 · max|Δ| · ¼ each.
    allowed = 64 * np.finfo(float).eps * np.abs(residuals).sum()
    np.testing.assert_allclose(found, [twin(pairs, point) for point in points], rtol=0, atol=allowed)


@given(st.integers(2, 6), st.integers(0, 1000), st.floats(0.05, 0.95))
def test_a_residual_that_is_quadratic_is_found_whole(n: int, seed: int, share: float) -> None:
    """Whatever the pairs' shares, and by example: Σ λ_k λ_j u_kj vanishes at single datasets."""
    generator = np.random.default_rng(seed)
    effects = generator.standard_normal((n * (n - 1) // 2, 3))
    truth = PairCorrection(tuple("abcdef"[:n]), effects)
    pairs = np.array(
        [share * np.eye(n)[k] + (1 - share) * np.eye(n)[j] for k, j in combinations(range(n), 2)]
    )
    order = generator.permutation(len(pairs))
    found = PairCorrection.through("abcdef"[:n], pairs[order], truth.at(pairs)[order])
    points = generator.dirichlet(np.ones(n), 5)
    np.testing.assert_allclose(found.at(points), truth.at(points), rtol=1e-12, atol=1e-12)
    assert not found.at(np.eye(n)).any()


def test_seeds_of_a_pair_are_averaged() -> None:
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]])
    found = PairCorrection.through("ab", points, np.array([0.25, 0.5, 3 / 16]))
    assert found.effects.tolist() == [(1 + 2 + 1) / 3]


@pytest.mark.parametrize(
    ("names", "points", "said"),
    [
        ("abc", [[0.5, 0.5, 0]], r"2 of 3 pairs were not trained, such as a\+c"),
        ("abc", np.full((1, 3), 1 / 3), r"has two datasets, got a mixture of \['a', 'b', 'c'\]"),
        ("ab", [[1.0, 0.0]], r"has two datasets, got a mixture of \['a'\]"),
        ("a", [[1.0]], r"at least two datasets, got \['a'\]"),
        ("aa", [[0.5, 0.5]], "different names"),
        ("ab", [[1.0, 1.0]], "sum to 1"),
        ("ab", [[1.5, -0.5]], "at least 0"),
        ("ab", [[np.nan, 0.5]], "finite"),
        ("ab", [[0.5, 0.25, 0.25]], r"\[M, 2\], a share a dataset, got \[1, 3\]"),
        ("ab", [[1.0, 1e-320]], "a share of .* says nothing"),
    ],
)
def test_what_does_not_fix_it_is_refused(names: str, points: list[list[float]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PairCorrection.through(list(names), np.array(points), np.ones(len(points)))


@pytest.mark.parametrize("residuals", [[np.nan], [0.1, 0.2], [], np.ones((1, 1, 1))])
def test_residuals_that_are_none_are_refused(residuals: object) -> None:
    with pytest.raises(InputError, match="residuals"):
        PairCorrection.through("ab", np.array([[0.5, 0.5]]), np.asarray(residuals))


def test_a_correction_is_for_points_of_its_simplex() -> None:
    found = PairCorrection.through("ab", np.array([[0.5, 0.5]]), np.ones(1))
    for points in ([[2.0, 5.0]], [[0.5, 0.25, 0.25]], [["a", "b"]]):
        with pytest.raises(InputError):
            found.at(np.asarray(points))
