"""A prior from curvature: it is the belief before the first evaluation, and errors of scores are heard."""

from __future__ import annotations

import numpy as np
import pytest

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.searching import (
    ModelBased,
    Objective,
    QuadraticPrior,
    Simplex,
    Subsets,
    TrustRegion,
    assess,
)
from m2m.searching.polynomial_posterior import PolynomialPosterior
from m2m.support.arrays import Floats

N = 6
NAMES = tuple("abcdef")


def prior(seed: int) -> QuadraticPrior:
    generator = np.random.default_rng(seed)
    tasks = generator.standard_normal((N, 2 * N))
    return QuadraticPrior(3.0, tasks @ generator.standard_normal(2 * N), tasks @ tasks.T)


def loss(exact: QuadraticPrior, beyond: float = 0.0) -> Objective:
    """The prior's quadratic plus a cubic."""

    def function(mixture: Mixture) -> float:
        point = np.array([mixture.weights])
        return float(exact.at(point)[0] + beyond * np.sin(7 * point @ np.arange(N))[0])

    return Objective(function, higher_is_better=False)


def points(count: int, seed: int) -> Floats:
    return np.random.default_rng(seed).dirichlet(np.ones(N), count)


def test_the_value_is_the_second_order_expansion() -> None:
    exact = prior(0)
    alpha = points(5, 1)
    gradient, hessian = np.asarray(exact.gradient), np.asarray(exact.hessian)
    expected = [3.0 + a @ gradient + a @ hessian @ a / 2 for a in alpha]
    np.testing.assert_allclose(exact.at(alpha), expected, rtol=1e-12)


def test_far_from_what_was_tried_the_belief_is_the_prior() -> None:
    exact, tried = prior(0), points(8, 2)
    losses = exact.at(tried) + 0.25
    belief = PolynomialPosterior(tried, losses, prior=exact)
    # What is learnt is the difference, and that is 0.25 everywhere.
    unseen = points(20, 3)
    np.testing.assert_allclose(belief.mean().at(unseen), exact.at(unseen) + 0.25, rtol=1e-9)
    np.testing.assert_allclose(belief.predict(unseen)[0], exact.at(unseen) + 0.25, rtol=1e-9)
    np.testing.assert_allclose(belief.predicted(), losses, rtol=1e-9)


def test_a_right_prior_finds_the_best_subset_at_once() -> None:
    for seed in range(10):
        exact, space = prior(seed), Subsets(NAMES)
        best = min(space, key=lambda mixture: float(exact.at(np.array([mixture.weights]))[0]))
        result = ModelBased(prior=exact).search(loss(exact), space, 4, seed)
        assert result.trajectory[0].mixture == best


def test_a_wrong_prior_is_unlearnt() -> None:
    exact, wrong, space = prior(1), prior(2), Subsets(NAMES)
    best = min(space, key=lambda mixture: float(exact.at(np.array([mixture.weights]))[0]))
    assert ModelBased(prior=wrong).search(loss(exact), space, 40, 0).best == best


def test_on_the_simplex_the_search_starts_at_the_priors_minimum() -> None:
    exact, space = prior(3), Simplex(NAMES, upper={"a": 0.4})
    result = TrustRegion(prior=exact).search(loss(exact), space, 30)
    first = result.trajectory[0]
    assert first.predicted == pytest.approx(first.value, rel=1e-12)
    assert result.value == pytest.approx(first.value, abs=1e-9)
    assert first.mixture in space


def test_a_prior_helps_where_it_is_nearly_right() -> None:
    needed = {"with": 0, "without": 0}
    for seed in range(10):
        exact, space = prior(seed), Subsets(NAMES)
        objective = loss(exact, beyond=0.05)
        best = min(objective.function(mixture) for mixture in space)
        for name, strategy in {"with": ModelBased(prior=exact), "without": ModelBased()}.items():
            values = [step.value for step in strategy.search(objective, space, 40, seed).trajectory]
            needed[name] += values.index(best) if best in values else 40
    assert needed["with"] < needed["without"]


def test_scores_with_errors_are_believed_less() -> None:
    exact, tried = prior(4), points(30, 5)
    losses = exact.at(tried)
    losses[0] += 50 * np.std(losses)
    errors = np.zeros(30)
    errors[0] = 50 * np.std(losses)
    at = tried[:1]
    fooled = PolynomialPosterior(tried, losses).predict(at)[0][0]
    told = PolynomialPosterior(tried, losses, errors=errors).predict(at)[0][0]
    assert abs(told - exact.at(at)[0]) < 0.1 * abs(fooled - exact.at(at)[0])


def test_the_ledger_asks_for_errors_and_the_belief_uses_them() -> None:
    exact, space = prior(5), Subsets(NAMES)
    noisy = Objective(loss(exact).function, False, error=lambda mixture: 0.1 * len(mixture.members))
    result = ModelBased().search(noisy, space, 12)
    assert [step.error for step in result.trajectory] == [
        0.1 * len(step.mixture.members) for step in result.trajectory
    ]
    sure = assess(ModelBased().search(loss(exact), space, 12).trajectory, space, higher_is_better=False)
    unsure = assess(result.trajectory, space, higher_is_better=False)
    assert unsure.pick.deviation > sure.pick.deviation


@pytest.mark.parametrize(
    ("gradient", "hessian", "said"),
    [
        (np.zeros(2), np.zeros((3, 3)), r"shapes \[2\] and \[3, 3\]"),
        (np.array([np.nan, 0]), np.zeros((2, 2)), "finite"),
        (np.zeros(2), np.array([[1.0, 2.0], [0.0, 1.0]]), "symmetric"),
    ],
)
def test_a_prior_that_is_none_is_refused(gradient: Floats, hessian: Floats, said: str) -> None:
    with pytest.raises(InputError, match=said):
        QuadraticPrior(0.0, gradient, hessian)


def test_a_prior_describes_a_loss() -> None:
    exact, space = prior(0), Subsets(NAMES)
    steps = ModelBased().search(loss(exact), space, 8).trajectory
    with pytest.raises(InputError, match="describes a loss"):
        assess(steps, space, higher_is_better=True, prior=exact)
