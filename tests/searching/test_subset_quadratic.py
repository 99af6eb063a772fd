from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.searching import Subsets
from m2m.searching.polynomials import Quadratic
from m2m.searching.subset_quadratic import SubsetQuadratic
from m2m.support.arrays import Floats

NAMES = "abcdefg"


def random_quadratic(n: int, seed: int) -> Quadratic:
    generator = np.random.default_rng(seed)
    pairs = generator.standard_normal((n, n))
    return Quadratic(generator.standard_normal(), generator.standard_normal(n), pairs + pairs.T)


@st.composite
def spaces(draw: st.DrawFn) -> Subsets:
    names = NAMES[: draw(st.integers(2, 7))]
    groups = [names[:2]] if draw(st.booleans()) else []
    include = draw(st.sampled_from(["", names[-1]]))
    smallest = draw(st.integers(1, 2)) if len(names) > 3 else 1
    largest = draw(st.sampled_from([None, 3])) if len(names) > 3 else None
    return Subsets(names, smallest, largest, include, groups=groups)


def chosen(space: Subsets, points: Floats) -> Floats:
    return (points @ space.free_units.members.T > 0).astype(float)


@given(spaces(), st.integers(0, 99))
def test_it_is_the_quadratic_at_the_mean_of_the_members(space: Subsets, seed: int) -> None:
    quadratic = random_quadratic(len(space.datasets), seed)
    points = np.array([mixture.weights for mixture in space])
    units = chosen(space, points)
    np.testing.assert_allclose(space.free_units.points(units), points, atol=1e-15)
    np.testing.assert_allclose(
        SubsetQuadratic(quadratic, space.free_units).at(units), quadratic.at(points), atol=1e-12
    )


@given(spaces(), st.integers(0, 99))
def test_the_best_of_all_is_the_best_of_all(space: Subsets, seed: int) -> None:
    quadratic = random_quadratic(len(space.datasets), seed)
    points = np.array([mixture.weights for mixture in space])
    best = SubsetQuadratic(quadratic, space.free_units).best_of_all()
    np.testing.assert_allclose(space.free_units.points(best[None])[0], points[quadratic.at(points).argmin()])


@given(spaces(), st.integers(0, 99))
def test_a_descent_ends_where_no_addition_removal_or_swap_helps(space: Subsets, seed: int) -> None:
    quadratic = random_quadratic(len(space.datasets), seed)
    landscape = SubsetQuadratic(quadratic, space.free_units)
    starts = chosen(space, np.array([mixture.weights for mixture in space]))
    ends = landscape.descend(starts)
    assert (landscape.at(ends) <= landscape.at(starts) + 1e-12).all()
    for point in np.unique(space.free_units.points(ends), axis=0):
        [here] = [m for m in space if np.allclose(m.weights, point)]
        near = space.larger(here) + space.smaller(here) + space.swapped(here)
        others = quadratic.at(np.array([m.weights for m in near]).reshape(-1, len(point)))
        assert (others >= quadratic.at(point[None]) - 1e-9).all()


def test_random_units_keep_the_limits_and_come_in_all_sizes() -> None:
    units = Subsets([f"d{i}" for i in range(50)], 2, 40, include=["d0"]).free_units
    sizes = units.random(2000, np.random.default_rng(0)).sum(1)
    assert (sizes.min(), sizes.max()) == (1, 39)
    # Logarithmic: as many of 1 … 5 as of 7 … 39, each 45 % (binomial, σ = 22)
    assert abs((sizes <= 5).sum() - 2000 * np.log(6) / np.log(40)) < 5 * 22


@pytest.mark.parametrize("n", [20])
def test_two_to_the_twenty_subsets_are_enumerated(n: int) -> None:
    """Held against subsets of at most four members, all of which are evaluated one by one."""
    quadratic = random_quadratic(n, 3)
    space = Subsets([f"d{i}" for i in range(n)], largest=4)
    best = SubsetQuadratic(quadratic, space.free_units).best_of_all()
    few = [c for size in range(1, 5) for c in combinations(range(n), size)]
    points = np.array([[1 / len(c) if i in c else 0.0 for i in range(n)] for c in few])
    np.testing.assert_allclose(space.free_units.points(best[None])[0], points[quadratic.at(points).argmin()])
