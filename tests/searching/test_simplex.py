from __future__ import annotations

import math
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.mixture import Mixture
from m2m.searching import (
    MixtureList,
    ModelBased,
    Objective,
    OptunaStudy,
    PredictorRounds,
    Simplex,
    Strategy,
    Subsets,
    TrustRegion,
    assess,
    repetition_caps,
    search,
)
from m2m.searching.polynomials import Quadratic
from m2m.searching.proposals import SimplexProposals
from m2m.searching.simplex_optimum import lattice, minimise, spread
from m2m.searching.trust_region import scheffe

NAMES = tuple("abcde")


def convex(seed: int, n: int = 5) -> Quadratic:
    """‖Σ λ_n τ_n − goal‖², with the goal inside the simplex's image or near it."""
    generator = np.random.default_rng(seed)
    tasks = generator.standard_normal((n, 2 * n))
    goal = generator.dirichlet(np.ones(n)) @ tasks + 0.1 * generator.standard_normal(2 * n)
    return Quadratic(float(goal @ goal), -2 * tasks @ goal, tasks @ tasks.T)


def objective_of(quadratic: Quadratic) -> Objective:
    return Objective(lambda mixture: float(quadratic.at(np.array([mixture.weights]))[0]), False)


@given(
    st.lists(st.floats(-3, 3), min_size=5, max_size=5),
    st.lists(st.floats(0, 0.2), min_size=5, max_size=5),
    st.lists(st.floats(0.2, 1), min_size=5, max_size=5),
)
def test_the_nearest_mixture_is_nearest(point: list[float], lower: list[float], upper: list[float]) -> None:
    space = Simplex(NAMES, dict(zip(NAMES, lower, strict=True)), dict(zip(NAMES, upper, strict=True)))
    near = space.nearest(np.array(point))
    assert space.mixture(near) in space
    generator = np.random.default_rng(0)
    # The projection onto a convex set makes an obtuse angle with all of it.
    others = space.nearest(generator.standard_normal((20, 5)))
    assert all((np.array(point) - near) @ (other - near) < 1e-9 for other in others)


BOUNDS = st.sampled_from([0.0, 1e-12, 0.05, 0.1, 1 / 7, 0.2])
CAPS = st.sampled_from([0.3, 1 / 3, 0.4, 0.55, 1.0])
PARTS = st.one_of(
    st.floats(-3, 3), st.floats(-1e9, 1e9), st.sampled_from([0.0, 5e-17, 1e-12, 0.25, 1 / 3, 1.0])
)


@given(*[st.lists(each, min_size=5, max_size=5) for each in (PARTS, BOUNDS, CAPS)])
def test_the_nearest_mixture_is_clean(point: list[float], lower: list[float], upper: list[float]) -> None:
    space = Simplex(NAMES, dict(zip(NAMES, lower, strict=True)), dict(zip(NAMES, upper, strict=True)))
    near = space.nearest(np.array(point))
    mixture = space.mixture(near)
    assert np.array_equal(space.nearest(near), near), "a mixture of the space stays as it is"
    for shares in (near, np.array(mixture.weights)):
        assert abs(math.fsum(shares) - 1) <= 5 * 5 * np.finfo(float).eps
        assert not ((shares > 0) & (shares < 1e-9)).any()
        assert (shares >= space.lower).all()
        assert (shares <= space.upper).all()
    assert space.mixture(np.array(mixture.weights)).key == mixture.key


@given(st.lists(st.integers(0, 40), min_size=5, max_size=5).filter(any), st.integers(0, 1000))
def test_fractions_survive_rounding(parts: list[int], seed: int) -> None:
    """Points of a grid, subsets and typed decimals are what they were, and so are their keys."""
    exact = Mixture(NAMES, tuple(part / sum(parts) for part in parts))
    noise = np.random.default_rng(seed).uniform(-1, 1, 5) * np.finfo(float).eps
    space = Simplex(NAMES)
    assert space.mixture(np.array(exact.weights)).key == exact.key
    assert space.mixture(np.array(exact.weights) + noise).key == exact.key


def test_tiny_shares_go_to_the_rest() -> None:
    assert Simplex("abc").mixture(np.array([0.25, 0.75, 6e-18])).label == "a=0.25+b=0.75"
    assert Simplex("abc").nearest(np.array([0.5, 0.5 - 5e-10, 5e-10])).tolist() == [0.5, 0.5, 0.0]
    capped = Simplex("abc", upper={"a": 0.5, "b": 0.5 - 5e-10})  # nowhere else to go
    assert capped.nearest(np.array([0.6, 0.6, 0.0])) == pytest.approx([0.5, 0.5 - 5e-10, 5e-10], abs=1e-15)


@pytest.mark.parametrize(
    "strategy",
    [ModelBased(), TrustRegion(), OptunaStudy("tpe"), PredictorRounds("ridge", rounds=2, looked_at=99)],
)
def test_nothing_is_evaluated_or_counted_twice(strategy: Strategy) -> None:
    quadratic, asked = convex(7), []

    def value(mixture: Mixture) -> float:
        asked.append(mixture.weights)
        return float(quadratic.at(np.array([mixture.weights]))[0])

    space = Simplex(NAMES, upper={"a": 0.4})
    result = strategy.search(Objective(value, False), space, 30, seed=1)
    assert len(asked) == len(set(asked)) == result.evaluations <= 30
    belief = assess(result.trajectory, space, higher_is_better=False)
    shown = [mixture.shown for mixture in belief.next]
    assert len(shown) == len(set(shown)), "what to try next is said once"
    assert not {mixture.key for mixture in belief.next} & {step.mixture.key for step in result.trajectory}


@given(st.integers(0, 200), st.sampled_from([0.0, 0.5]))
def test_the_minimum_of_a_convex_quadratic_is_stationary(seed: int, strength: float) -> None:
    quadratic = convex(seed)
    space = Simplex(NAMES, {"a": 0.05}, {"b": 0.3, "c": 0.4}, strength=strength)
    [point, *_] = minimise(quadratic, space, lattice(5)[:2])
    slope = quadratic.gradient(point)
    slope += strength * (np.log(np.maximum(point, 1e-9) / space.prior) + 1)
    free = (point > space.lower + 1e-6) & (point < space.upper - 1e-6)
    small = 1e-3 * np.abs(quadratic.linear).max()
    if free.sum() > 1:  # Karush, Kuhn and Tucker: one price for all shares that can move
        assert np.ptp(slope[free]) < small
        price = slope[free].mean()
        assert (slope[point <= space.lower + 1e-6] > price - small).all()
        assert (slope[point >= space.upper - 1e-6] < price + small).all()


@given(st.integers(0, 100))
def test_the_lattice_determines_a_quadratic_on_the_simplex(seed: int) -> None:
    truth, points = convex(seed), lattice(5)
    unseen = np.random.default_rng(seed).dirichlet(np.ones(5), 30)
    assert len(points) == 5 * 6 // 2
    np.testing.assert_allclose(scheffe(points, truth.at(points)).at(unseen), truth.at(unseen), atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_quadratic_strategy_is_exact_on_a_quadratic(seed: int) -> None:
    quadratic = convex(seed)
    space = Simplex(NAMES, upper={"a": 0.4})
    result = search(objective_of(quadratic), space, TrustRegion(), budget=30)
    [best, *_] = minimise(quadratic, space, lattice(5))
    assert result.value == pytest.approx(quadratic.at(best[None])[0], abs=1e-7)
    forecast = next(step for step in result.trajectory if step.predicted is not None)
    assert forecast.value == pytest.approx(forecast.predicted, abs=1e-7)
    assert result.trajectory.index(forecast) <= 5 * 6  # the centre, the lattice, what the cap costs
    assert all(step.mixture in space for step in result.trajectory)


@pytest.mark.parametrize("strategy", [ModelBased(), TrustRegion(), OptunaStudy("tpe"), OptunaStudy("cmaes")])
def test_strategies_beat_the_corners_and_keep_the_bounds(strategy: Any) -> None:
    quadratic = convex(7)
    space = Simplex(NAMES, {"e": 0.02}, {"a": 0.4})
    result = strategy.search(objective_of(quadratic), space, 40, seed=1)
    assert result.evaluations <= 40
    assert all(step.mixture in space for step in result.trajectory)
    assert result.value < quadratic.at(np.eye(5)).min()
    assert strategy.search(objective_of(quadratic), space, 40, seed=1) == result


def test_the_prior_pulls() -> None:
    quadratic, prior = convex(3), dict(zip(NAMES, (0.6, 0.1, 0.1, 0.1, 0.1), strict=True))
    far = []
    for strength in (0.0, 1.0, 100.0):
        space = Simplex(NAMES, prior=prior, strength=strength)
        result = search(objective_of(quadratic), space, "quadratic", budget=60)
        far.append(np.abs(np.array(result.best.weights) - list(prior.values())).sum())
        assert space.penalty(Mixture(NAMES, tuple(prior.values()))) == pytest.approx(0.0)
    assert far[0] > far[1] > far[2]


def test_repetition_caps_shares() -> None:
    assert repetition_caps({"a": 100, "b": 5000}, total=1000, repetitions=4) == {"a": 0.4, "b": 1.0}
    with pytest.raises(MixtureError, match="must be positive"):
        repetition_caps({"a": 0}, 1000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"upper": {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1, "e": 0.1}},
            "upper bounds sum to 0.5, below 1; raise",
        ),
        ({"lower": {"a": 0.6, "b": 0.6}}, "lower bounds sum to 1.2, above 1; lower some"),
        ({"lower": {"a": 0.6}, "upper": {"a": 0.5}}, "a has a lower bound 0.6 above|a's lower bound"),
        ({"upper": {"x": 0.6}}, r"unknown datasets \['x'\] in the upper bounds"),
        ({"lower": {"a": -0.1}}, "finite and not negative"),
        ({"prior": {"a": 1.0}}, "prior must sum to 1 with a positive share for each"),
        ({"strength": -1.0}, "strength must not be negative"),
    ],
)
def test_bounds_that_nothing_meets_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(MixtureError, match=said):
        Simplex(NAMES, **arguments)


def test_spaces_and_strategies_must_fit() -> None:
    objective = objective_of(convex(0))
    with pytest.raises(ConfigError, match="Greedy searches Subsets, not Simplex"):
        search(objective, Simplex(NAMES), "greedy", budget=5)
    with pytest.raises(ConfigError, match="TrustRegion searches Simplex or ScaledSimplex, not Subsets"):
        search(objective, Subsets(NAMES), "quadratic", budget=5)
    with pytest.raises(InputError, match="give it a budget"):
        search(objective, Simplex(NAMES), "model")


def test_a_pool_is_searched_as_a_list() -> None:
    random = Random(0)
    mixtures = [Simplex(NAMES).sample(random) for _ in range(60)]
    objective = objective_of(convex(1))
    best = min(mixtures, key=objective.function)
    assert search(objective, MixtureList(mixtures), "exhaustive").best == best
    result = search(objective, MixtureList(mixtures), "model", budget=30)
    assert result.best == best
    assert assess(result.trajectory, MixtureList(mixtures), higher_is_better=False).pick.mixture == best
    with pytest.raises(MixtureError, match="there more than once; average or drop its repeats"):
        MixtureList([mixtures[0], *mixtures])
    with pytest.raises(MixtureError, match="at least one mixture"):
        MixtureList([])
    with pytest.raises(MixtureError, match="different datasets"):
        MixtureList([mixtures[0], Mixture.subset("abc", "a")])


@pytest.mark.parametrize("end", ["nowhere", "uphill"])
def test_a_descent_never_ends_above_its_start(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the optimiser leaves is looked at: numbers, and lower than before."""
    quadratic, space = Quadratic(0.0, np.array([0.0, 1.0, 2.0]), np.zeros((3, 3))), Simplex(("a", "b", "c"))
    where = {"nowhere": np.full(3, np.nan), "uphill": np.array([0.0, 0.0, 1.0])}[end]
    monkeypatch.setattr(scipy.optimize, "minimize", lambda *_, **__: OptimizeResult(x=where))
    start = np.array([0.2, 0.8, 0.0])
    assert minimise(quadratic, space, start[None]) == pytest.approx(start[None])


def test_a_thousand_datasets_take_no_list_of_all_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d{number}" for number in range(1000)]
    tracemalloc.start()
    try:
        points = SimplexProposals(Simplex(names)).design(1010, np.random.default_rng(0))
        spread(Simplex(names), 1010, np.random.default_rng(0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(points[:1000], np.eye(1000))
    assert sorted(points[1005][points[1005] > 0]) == [0.5, 0.5]
    assert peak < 400e6  # all middles of edges: 4 GB


def test_design_draws_the_middles_of_the_whole_lattice() -> None:
    space = Simplex("abcd")
    corners, middles = np.split(lattice(4), [4])
    wanted = np.vstack([corners, np.random.default_rng(3).permutation(middles)])[:8]
    assert np.array_equal(SimplexProposals(space).design(8, np.random.default_rng(3)), wanted)


def test_a_quadratic_of_too_many_datasets_names_its_limit() -> None:
    space = Simplex([f"d{number}" for number in range(63)])
    with pytest.raises(InputError, match=r"2016 for 63 datasets, and at most 2000: take strategy=model"):
        TrustRegion().search(Objective(lambda mixture: 0.0, higher_is_better=False), space, 10)
