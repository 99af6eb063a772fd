"""Shares times a scale: the space keeps to its bounds and its bits, and every strategy finds the scale."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import ConfigError, MixtureError
from m2m.mixture import MergingWeights, Mixture
from m2m.searching import Objective, QuadraticPrior, ScaledSimplex, Simplex, TrustRegion, assess, search
from m2m.searching.polynomials import Quadratic
from m2m.searching.proposals import SimplexProposals
from m2m.searching.simplex_optimum import minimise, spread
from m2m.support.arrays import Floats

NAMES = ("a", "b", "c", "d")
#: Where the bowl below is lowest: shares 0.2, 0.5, 0.3 and none, at the scale 1.6.
LOWEST = np.array([0.32, 0.8, 0.48, 0.0])
#: Curved in every direction, but not equally.
BENT = np.diag([1.0, 2.0, 0.5, 1.5]) + 0.2


def bowl(weights: MergingWeights) -> float:
    off = np.array(weights.weights) - LOWEST
    return float(3 + off @ BENT @ off)


@st.composite
def spaces(draw: st.DrawFn) -> ScaledSimplex:
    low = draw(st.floats(0.05, 3))
    upper = {"a": draw(st.floats(0.2, 1)), "b": draw(st.floats(0.3, 1))}
    simplex = Simplex(NAMES, {"c": draw(st.floats(0, 0.4))}, upper)
    return ScaledSimplex(simplex, low, low * draw(st.floats(1, 4)))


@given(space=spaces(), seed=st.integers(0, 2**32), far=st.floats(0, 10))
def test_what_is_moved_into_the_space_lies_there_and_stays(
    space: ScaledSimplex, seed: int, far: float
) -> None:
    point = far * np.random.default_rng(seed).normal(size=4)
    near = space.nearest(point)
    found = space.mixture(near)
    assert found in space
    assert space.nearest(near).tolist() == near.tolist()
    assert space.mixture(np.array(found.weights)).key == found.key
    np.testing.assert_allclose(found.weights, near, rtol=0, atol=1e-9)
    assert space.sample(Random(seed)) in space


@given(space=spaces(), seed=st.integers(0, 2**32))
def test_coordinates_are_shares_of_the_experts_at_their_furthest_and_of_the_base(
    space: ScaledSimplex, seed: int
) -> None:
    """θ₀ + Σ α τ, written both ways with experts and base that are any numbers."""
    generator = np.random.default_rng(seed)
    points = space.nearest(space.placed(generator.dirichlet(np.ones(4), 9), generator))
    base, vectors = generator.normal(), generator.normal(size=4)
    shares = space.on_a_simplex(points)
    assert shares.min() >= -1e-12
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        shares @ [*(base + space.high * vectors), base], base + points @ vectors, rtol=0, atol=1e-9
    )


@given(space=spaces(), seed=st.integers(0, 2**32))
def test_a_descent_ends_no_higher_than_anything_it_could_have_tried(space: ScaledSimplex, seed: int) -> None:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(4, 4))
    landscape = Quadratic(1.0, generator.normal(size=4), root @ root.T)
    [lowest, *_] = minimise(landscape, space, space.nearest(space.corners))
    assert space.mixture(lowest) in space
    tried = spread(space, 500, generator)
    assert landscape.at(lowest[None])[0] <= landscape.at(tried).min() + 1e-6


@given(seed=st.integers(0, 2**32))
def test_a_penalty_s_slope_is_its_change(seed: int) -> None:
    generator = np.random.default_rng(seed)
    simplex = Simplex(NAMES, prior={"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}, strength=0.7)
    space = ScaledSimplex(simplex, 0.5, 2.0)
    point = generator.uniform(0.5, 2) * generator.dirichlet(np.full(4, 5.0))
    value, slope = space.pull(point)
    assert value == pytest.approx(float(space.penalties(point[None])[0]))
    step = 1e-6
    for n in range(4):
        there, back = (space.penalties((point + sign * step * np.eye(4)[n])[None])[0] for sign in (1, -1))
        assert slope[n] == pytest.approx((there - back) / (2 * step), rel=1e-4, abs=1e-6)


def best(strategy: str, budget: int, space: ScaledSimplex, function: object = bowl) -> MergingWeights:
    result = search(Objective(function, higher_is_better=False), space, strategy, budget, seed=1)
    assert all(step.mixture in space for step in result.trajectory)
    assert result.evaluations <= budget
    return result.best


@pytest.mark.parametrize(
    ("strategy", "budget"),
    [
        ("model", 40),
        ("quadratic", 40),
        ("random", 300),
        ("predictor:ridge", 60),
        ("predictor:gp", 60),
        ("predictor:lightgbm", 200),
        ("regmix", 200),
        ("tpe", 150),
        ("cmaes", 300),
        ("gp", 40),
        ("genetic", 300),
    ],
)
def test_every_strategy_finds_better_than_there_is_on_the_simplex(strategy: str, budget: int) -> None:
    if strategy in ("tpe", "cmaes", "gp", "genetic"):
        pytest.importorskip("optuna", reason="needs the extra `search`")
    simplex = Simplex(NAMES)
    found = best(strategy, budget, ScaledSimplex(simplex))
    [there, *_] = minimise(landscape(), simplex, np.eye(4))  # convex: every descent ends in the same place
    assert bowl(found) < float(landscape().at(there[None])[0])
    if strategy in ("model", "quadratic"):  # which believe in quadratics
        assert bowl(found) == pytest.approx(3, abs=1e-2)


def test_an_exact_quadratic_is_found_at_once_within_caps() -> None:
    """(N + 1)(N + 2)/2 evaluations determine it, twice as many where bounds move them; then its minimum."""
    for space in (
        ScaledSimplex(Simplex(NAMES, upper={"b": 0.4})),
        ScaledSimplex(Simplex(NAMES), 0.5, 1.2),
        ScaledSimplex(Simplex(NAMES), 1.7, 1.7),
    ):
        objective = Objective(bowl, higher_is_better=False)
        result = search(objective, space, "quadratic", 40, seed=0)
        grid = spread(space, 20_000, np.random.default_rng(0))
        lowest = min(map(float, landscape().at(grid)))
        assert result.value <= lowest + 1e-6
        first = next(step for step in result.trajectory[1:] if step.predicted is not None)
        assert first.predicted == pytest.approx(first.value, abs=1e-6)


def landscape() -> Quadratic:
    return Quadratic(3 + float(LOWEST @ BENT @ LOWEST), -2 * BENT @ LOWEST, BENT)


def test_a_prior_from_curvature_holds_off_the_simplex_too() -> None:
    exact = landscape()
    prior = QuadraticPrior(exact.constant, exact.linear, 2 * exact.pairs)
    space = ScaledSimplex(Simplex(NAMES))
    result = search(Objective(bowl, higher_is_better=False), space, TrustRegion(prior=prior), 3, seed=0)
    assert result.trajectory[0].value == pytest.approx(3.0, abs=1e-6)


def test_a_belief_is_about_weights_off_the_simplex() -> None:
    space = ScaledSimplex(Simplex(NAMES))
    result = search(Objective(bowl, higher_is_better=False), space, "model", 40, seed=0)
    belief = assess(result.trajectory, space, higher_is_better=False)
    tried = {step.mixture.key for step in result.trajectory}
    assert belief.pick.mixture.key in tried
    assert all((one.mixture.key in tried) == one.tried for one in (belief.pick, *belief.contenders))
    assert all(each in space and each.key not in tried for each in belief.next)


def test_designs_go_through_the_scales() -> None:
    space = ScaledSimplex(Simplex(NAMES), 0.5, 1.5)
    points: Floats = SimplexProposals(space).design(40, np.random.default_rng(0))
    assert {round(float(total), 1) for total in points.sum(1)} >= {0.6, 0.9, 1.2, 1.4}


def test_ranges_that_are_none_and_what_cannot_be_searched() -> None:
    for low, high in ((0, 1), (-1, 1), (2, 1), (1, np.inf), (np.nan, 1)):
        with pytest.raises(MixtureError, match="scales must be a range above 0, the smaller one first"):
            ScaledSimplex(Simplex(NAMES), low, high)
    space = ScaledSimplex(Simplex(NAMES))
    with pytest.raises(ConfigError, match="Greedy searches Subsets, not ScaledSimplex"):
        best("greedy", 5, space)
    with pytest.raises(MixtureError, match="have no end"):
        list(space)
    for outside in ((1.5, 1.5, 0, 0), (0.1, 0.1, 0, 0), (1.5, -0.2, 0, 0)):
        assert MergingWeights.of(NAMES, outside) not in space
    assert Mixture.subset(NAMES, "ab") in space
    assert Mixture.subset("abc", "ab") not in space
