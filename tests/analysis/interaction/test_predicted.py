"""The predicted residual against closed forms: coefficient, covariance form, cancellations, symmetry."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import LinearSetup, linear_setup
from helpers.quadratic_descent import closed_residual, gradients_and_hessians
from hypothesis import given
from hypothesis import strategies as st

from analysis.curvature import LossSurface
from analysis.interaction import SecondOrder, UpdateRule, second_order
from analysis.interaction.compare import quotient
from analysis.interaction.optimizers import outside_theory
from m2m.errors import MixtureError
from m2m.setups.protocol import Examples
from m2m.training import TrainRecipe

MIXTURE = (0.5, 0.2, 0.3)
simplex = st.lists(st.floats(0.05, 1), min_size=3, max_size=3).map(
    lambda raw: tuple(value / sum(raw) for value in raw)
)


def terms_of(setup: LinearSetup) -> SecondOrder:
    return second_order(LossSurface(setup, setup.base_state(Path())))


@pytest.fixture(scope="module")
def setup() -> LinearSetup:
    return linear_setup(seed=2, examples=6)


@pytest.fixture(scope="module")
def terms(setup: LinearSetup) -> SecondOrder:
    return terms_of(setup)


@given(simplex)
def test_all_forms_are_one(setup: LinearSetup, terms: SecondOrder, weights: tuple[float, ...]) -> None:
    g, h = gradients_and_hessians(setup)
    row = torch.tensor(weights, dtype=torch.float64)
    mean_g, mean_h = row @ g, torch.einsum("k,kij->ij", row, h)
    covariance = sum(w * (h[k] - mean_h) @ (g[k] - mean_g) for k, w in enumerate(weights))
    torch.testing.assert_close(terms.covariance(weights), covariance, rtol=1e-10, atol=1e-12)
    bent = torch.einsum("kij,lj->kli", h, g)
    cross = sum(weights[k] * weights[j] * bent[k, j] for k in range(3) for j in range(3) if k != j)
    torch.testing.assert_close(terms.interference(weights), cross, rtol=1e-10, atol=1e-12)
    own = sum((w * w - w) * bent[k, k] for k, w in enumerate(weights))
    torch.testing.assert_close(terms.self_scaling(weights), own, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [3, 10])
def test_the_exact_coefficient_leaves_a_third_order(
    setup: LinearSetup, terms: SecondOrder, steps: int
) -> None:
    def left(rate: float, printed: bool) -> float:
        predicted = terms.residual(MIXTURE, UpdateRule.constant(rate, steps), printed=printed)
        truth = closed_residual(setup, MIXTURE, rate, steps)
        return ((predicted - truth).norm() / truth.norm()).item()

    # Relative remainder c·η + O(η²): halving η halves it. The printed coefficient is 1/(T − 1) too large.
    assert left(5e-5, False) == pytest.approx(left(1e-4, False) / 2, rel=0.01)
    assert left(1e-4, False) < 0.01
    assert left(1e-5, True) == pytest.approx(1 / (steps - 1), rel=0.01)


def test_two_steps_on_quadratics_have_no_third_order(setup: LinearSetup, terms: SecondOrder) -> None:
    predicted, truth = (
        terms.residual(MIXTURE, UpdateRule.constant(0.1, 2)),
        closed_residual(setup, MIXTURE, 0.1, 2),
    )
    assert (predicted - truth).norm() <= 1e-12 * truth.norm()


def test_one_step_leaves_nothing(terms: SecondOrder) -> None:
    assert not terms.residual(MIXTURE, UpdateRule.constant(0.3, 1)).any()
    assert UpdateRule.constant(0.3, 1).printed_coefficient > 0


def test_equal_hessians_cancel() -> None:
    terms = terms_of(linear_setup(seed=2, examples=6, shared=True))
    own, cross = terms.self_scaling(MIXTURE), terms.interference(MIXTURE)
    assert own.norm() > 0.1
    # Sums of a few products of numbers of order one: rounding stays below 100 u.
    assert (own + cross).norm() <= 100 * 2.0**-53 * own.norm()


def test_equal_gradients_leave_nothing() -> None:
    setup = linear_setup(seed=2, names="ab", width=2, examples=2)
    theta = setup.base_state(Path())["theta"]
    gradient = torch.tensor([1.0, -2.0], dtype=torch.float64)
    datasets = {}
    for name, data in setup.datasets.items():
        x = data.tensors[0]
        datasets[name] = Examples((x, x @ theta - torch.linalg.solve(x.T / 2, gradient)))
    setup.datasets = datasets
    terms = terms_of(setup)
    assert terms.covariance((0.5, 0.5)).norm() <= 1e-12 * terms.own.norm()


def test_decoupled_domains_are_all_self_scaling() -> None:
    setup = linear_setup(seed=1)
    setup.datasets = {
        name: Examples((torch.eye(5, dtype=torch.float64)[i : i + 1] * (i + 1), torch.ones(1).double()))
        for i, name in enumerate("abc")
    }
    terms = terms_of(setup)
    own = terms.self_scaling(MIXTURE)
    # It is the difference of two equal sums of three products.
    assert terms.interference(MIXTURE).norm() <= 8 * 2.0**-53 * own.norm()
    torch.testing.assert_close(terms.residual(MIXTURE, UpdateRule.constant(0.1, 5)), 0.1 * own)


def test_corners_have_no_residual(terms: SecondOrder) -> None:
    assert not terms.covariance((0.0, 1.0, 0.0)).any()


@given(st.permutations([0, 1, 2]))
def test_relabelling_changes_nothing(setup: LinearSetup, terms: SecondOrder, order: list[int]) -> None:
    surface = LossSurface(setup, setup.base_state(Path()))
    other = second_order(surface, [list(setup.datasets)[i] for i in order])
    permuted = [MIXTURE[i] for i in order]
    torch.testing.assert_close(other.covariance(permuted), terms.covariance(MIXTURE), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        other.interference(permuted), terms.interference(MIXTURE), rtol=1e-12, atol=1e-14
    )


def test_rho_is_the_relative_residual_of_small_steps(setup: LinearSetup, terms: SecondOrder) -> None:
    rate, steps = 1e-6, 1000
    g, _ = gradients_and_hessians(setup)
    row = torch.tensor(MIXTURE, dtype=torch.float64)
    truth = closed_residual(setup, MIXTURE, rate, steps).norm() / (rate * steps * (row @ g).norm())
    assert terms.rho(MIXTURE, UpdateRule.constant(rate, steps)) == pytest.approx(truth.item(), rel=0.01)


def test_schedules_have_their_own_coefficient() -> None:
    recipe = TrainRecipe(steps=3, batch=1, learning_rate=1.0, optimizer="sgd", schedule="linear")
    steps = UpdateRule.of(recipe)
    np.testing.assert_allclose(steps.rates, [1, 2 / 3, 1 / 3])
    assert steps.coefficient == pytest.approx(2 / 3 + 1 / 3 + 2 / 9)
    assert UpdateRule.constant(0.5, 4).coefficient == pytest.approx(0.25 * 4 * 3 / 2)
    assert UpdateRule.constant(0.5, 4).printed_coefficient == pytest.approx(2)


def test_recipes_outside_the_theory_are_named() -> None:
    plain = TrainRecipe(steps=3, batch=1, learning_rate=1.0, optimizer="sgd")
    assert outside_theory(plain) == []
    heavy = TrainRecipe(
        steps=3, batch=1, learning_rate=1.0, optimizer="sgd", momentum=0.9, weight_decay=0.1, clip_norm=1.0
    )
    assert outside_theory(heavy) == ["gradients are clipped at 1.0"]
    adam = TrainRecipe(steps=3, batch=1, learning_rate=1.0, weight_decay=0.1, horizon="pooled")
    assert outside_theory(adam) == ["mixtures train longer than experts (pooled horizon)"]
    assert outside_theory(TrainRecipe(steps=3, batch=1, learning_rate=1.0)) == []


def test_wrong_number_of_weights(terms: SecondOrder) -> None:
    with pytest.raises(MixtureError, match="got 2 weights for the datasets"):
        terms.covariance((0.5, 0.5))


def test_nothing_to_divide_by_is_no_zero() -> None:
    assert math.isnan(quotient(0.0, 0.0))
    assert math.isnan(quotient(2.0, 0.0))
    assert quotient(1.0, 4.0) == 0.25
