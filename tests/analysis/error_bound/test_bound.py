"""The bounds hold on random quadratics and small nets, say what they should, and fail when they must."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.quadratic_descent import closed_residual, descend, gradients_and_hessians
from helpers.small_net_setup import small_net_setup
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.curvature import LossSurface
from analysis.error_bound import (
    Ingredients,
    LocalShape,
    bound,
    ingredients,
    lipschitz,
    majorant,
    score_bound,
    slopes,
    sweep,
)
from analysis.error_bound.bound import ScoreShape
from analysis.error_bound.sweep import without_bound
from analysis.interaction import UpdateRule, follow
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.setups.protocol import Setup
from m2m.training import TrainRecipe

THIRDS = (0.5, 0.25, 0.25)


def of(setup: Setup, weights: tuple[float, ...] = THIRDS) -> tuple[LossSurface, Ingredients]:
    surface = LossSurface(setup, setup.base_state(Path()))
    return surface, ingredients(surface, Mixture(tuple(setup.datasets), weights))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.001, 0.3), st.integers(1, 12))
def test_the_bound_holds_on_quadratics(seed: int, rate: float, steps: int) -> None:
    setup = linear_setup(seed, width=4, examples=3)
    _, found = of(setup)
    truth = closed_residual(setup, THIRDS, rate, steps).norm().item()
    limit = bound(found, UpdateRule.constant(rate, steps))
    assert truth <= limit.total * (1 + 1e-12) + 1e-12
    assert limit.leading <= limit.spread * (1 + 1e-12)


def test_the_bound_is_tight_for_small_steps() -> None:
    setup = linear_setup(seed=1, examples=3)
    _, found = of(setup)
    steps = UpdateRule.constant(1e-5, 10)
    limit = bound(found, steps)
    truth = closed_residual(setup, THIRDS, 1e-5, 10).norm().item()
    assert limit.leading == pytest.approx(truth, rel=0.01)
    assert limit.remainder < 0.01 * limit.leading


def shape_of(g: torch.Tensor, h: torch.Tensor, lipschitz: float) -> LocalShape:
    """The shape of a loss with gradient g and Hessian h at the base."""
    values = torch.linalg.eigvalsh(h)
    return LocalShape(
        gradient=g.norm().item(),
        bent=(h @ g).norm().item(),
        bent_twice=(h @ h @ g).norm().item(),
        lowest=values[0].item(),
        highest=values[-1].item(),
        lipschitz=lipschitz,
    )


@given(st.integers(0, 10**6), st.floats(0.001, 0.5), st.integers(1, 20))
def test_the_majorant_holds_for_one_quadratic(seed: int, rate: float, steps: int) -> None:
    gradients, hessians = gradients_and_hessians(linear_setup(seed, names="ab", width=3, examples=4))
    g, h = gradients[0], hessians[0]
    shape = shape_of(g, h, lipschitz=0.0)
    found, x = majorant(shape, UpdateRule.constant(rate, steps)), descend(g, h, rate, steps)
    coefficient = UpdateRule.constant(rate, steps).coefficient
    slack = 1 + 1e-10
    assert x.norm() <= found.travel * slack
    assert (x + rate * steps * g).norm() <= found.first * slack + 1e-14
    assert (x + rate * steps * g - coefficient * h @ g).norm() <= found.second * slack + 1e-12


def test_a_cubic_loss_needs_its_remainder() -> None:
    # L = x + x²/2 + x³/6 in one dimension: g = 1, H = 1, r = x²/2, so ρ = 1 exactly.
    shape = LocalShape(1, 1, 1, 1, 1, lipschitz=1)
    rates = (0.3, 0.2, 0.1, 0.25)
    x = 0.0
    for rate in rates:
        x -= rate * (1 + x + x * x / 2)
    steps = UpdateRule(rates)
    error = abs(x + steps.total - steps.coefficient)
    found = majorant(shape, steps)
    slack = 1 + 1e-14  # in one dimension with these signs the triangle inequality is an equality
    assert abs(x) <= found.travel * slack
    assert abs(x + steps.total) <= found.first * slack
    assert error <= found.second * slack
    assert error > majorant(replace(shape, lipschitz=0.0), steps).second  # so the test can fail


def test_steps_beyond_stability_are_followed() -> None:
    # H = 10, η = 0.3: 1 − ηH = −2, and x = −(1 − (−2)^T)/10 · g runs away.
    shape = LocalShape(1, 10, 100, lowest=0, highest=10, lipschitz=0)
    for horizon in range(1, 12):
        steps = UpdateRule.constant(0.3, horizon)
        x = -(1 - (-2.0) ** horizon) / 10
        found = majorant(shape, steps)
        assert abs(x) <= found.travel * (1 + 1e-12)
        assert abs(x + steps.total - 10 * steps.coefficient) <= found.second * (1 + 1e-12) + 1e-12


def test_a_runaway_is_infinite_not_an_error() -> None:
    found = majorant(LocalShape(1, 1, 1, 0, 10, lipschitz=10), UpdateRule.constant(10, 40))
    assert found.second == float("inf")


def test_lipschitz_of_a_quadratic_is_rounding() -> None:
    setup = linear_setup(seed=3, examples=3)
    surface = LossSurface(setup, setup.base_state(Path()))
    point = torch.ones(5, dtype=torch.float64)
    # ‖rest‖ rounds a few dozen times numbers of the gradient's size, some tens.
    assert lipschitz(surface, setup.datasets["a"], [point]) <= 1e-12


def test_a_displacement_of_zero_says_nothing_of_the_remainder() -> None:
    setup = linear_setup(seed=1)
    surface = LossSurface(setup, setup.base_state(Path()))
    assert lipschitz(surface, setup.datasets["a"], [surface.zeros()]) == 0


def test_lipschitz_of_a_cubic() -> None:
    setup = small_net_setup()
    setup.loss = lambda model, batch: (  # type: ignore[method-assign]
        sum(((p - 1) ** 3).sum() for p in model.parameters() if p.requires_grad)
        / 6
        * torch.ones(len(batch[0]), dtype=torch.float64)
    )
    surface = LossSurface(setup, setup.base_state(Path()))
    single = surface.zeros()
    single[0] = 0.5
    # L‴ = 1 along each axis: the remainder of the gradient is x²/2.
    assert lipschitz(surface, setup.datasets["a"], [single]) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_bound_holds_on_small_nets_and_slopes_are_two(seed: int) -> None:
    setup = small_net_setup(seed, examples=4)
    surface, found = of(setup)
    base = setup.base_state(Path())
    sharpness = max(shape.highest for shape in found.experts)
    rates = [share / sharpness for share in (2**-9, 2**-8, 0.25, 1.0)]
    recipes = [TrainRecipe(steps=6, batch=1, learning_rate=r, optimizer="sgd") for r in rates]
    points = sweep(surface, base, found, recipes, setup.targets["target"].validation)
    assert [point.holds for point in points] == [True] * 4
    assert points[0].informative
    measured = [point.agreement.measured for point in points]
    # The next order changes the exponent by about ηTH = 6/256.
    assert slopes(rates, measured)[0] == pytest.approx(2, abs=6 / 128)
    assert points[0].agreement.share == pytest.approx(1, abs=1e-3)


def test_adamw_has_a_residual_but_no_bound() -> None:
    setup = small_net_setup(examples=4)
    surface, found = of(setup)
    [point] = sweep(
        surface,
        setup.base_state(Path()),
        found,
        [TrainRecipe(steps=2, batch=1, learning_rate=1e-3)],
        setup.targets["target"].validation,
    )
    assert (point.bound, point.loss_bound, point.holds, point.informative) == (None,) * 4
    # Already the first sign-like step differs: the residual is of the order of the travel, not of its square.
    assert point.relative > 0.1


def test_members_of_weight_zero_are_left_out() -> None:
    setup = linear_setup(seed=1, examples=3)
    _, found = of(setup, (0.5, 0.0, 0.5))
    assert found.terms.datasets == ("a", "c")
    truth = closed_residual(setup, (0.5, 0.0, 0.5), 0.05, 5).norm().item()
    assert truth <= bound(found, UpdateRule.constant(0.05, 5)).total


def test_score_bound_and_slopes_by_hand() -> None:
    assert score_bound(ScoreShape(0.0, 2.0, 3.0, 6.0), 2.0) == 4 + 6 + 8
    assert slopes([1, 2, 4], [3, 12, 96]) == pytest.approx([2, 3])
    assert slopes([1, 2], [0, 1]) == [pytest.approx(math.nan, nan_ok=True)]


@settings(max_examples=50)
@given(
    st.integers(0, 10**6),
    st.lists(st.floats(0.001, 0.1), min_size=1, max_size=9).map(tuple),
    st.floats(0, 0.95),
    st.booleans(),
)
def test_the_majorant_holds_with_momentum(
    seed: int, rates: tuple[float, ...], momentum: float, averaged: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    g, h = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((3,), (3, 3)))
    h = (h + h.T) / 2
    shape = shape_of(g, h, lipschitz=1.0)
    rule = UpdateRule(rates, momentum, averaged=averaged)
    # ½‖x‖²·x/‖x‖ is as large as a remainder with ρ = 1 may be.
    x = follow(rule, lambda _, at: g + h @ at + at.norm() * at / 2, torch.zeros(3, dtype=torch.float64))
    found, slack = majorant(shape, rule), 1 + 1e-10
    assert x.norm() <= found.travel * slack
    assert (x + rule.total * g).norm() <= found.first * slack + 1e-13
    assert (x + rule.total * g - rule.coefficient * h @ g).norm() <= found.second * slack + 1e-12


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_bounds_hold_and_inform_under_momentum_and_decay(momentum: float, decay: float) -> None:
    setup = linear_setup(seed=4, width=4, examples=3)
    base, mixture = setup.base_state(Path()), Mixture(tuple(setup.datasets), THIRDS)
    found = ingredients(LossSurface(setup, base, decay), mixture)
    recipe = TrainRecipe(
        steps=4, batch=1, learning_rate=1e-3, optimizer="sgd", momentum=momentum, weight_decay=decay
    )
    target = setup.targets["target"].validation
    [point] = sweep(LossSurface(setup, base), base, found, [recipe], target)
    assert point.holds
    assert point.informative
    assert point.bound is not None
    assert point.bound.leading == pytest.approx(point.agreement.measured, rel=0.05)
    if decay:
        with pytest.raises(ConfigError, match=r"ingredients have L2 decay 0, the optimiser 0\.5"):
            bound(of(setup)[1], UpdateRule.of(recipe))


def test_what_has_no_bound_is_refused() -> None:
    shape = LocalShape(1, 1, 1, 0, 1, lipschitz=0)
    instead = "m2m-analysis interaction predicts its residual .* m2m-analysis trust limits the regret"
    with pytest.raises(ConfigError, match=rf"no bound under AdamW: its metric .*; {instead}"):
        majorant(shape, UpdateRule((0.1,), 0.9, averaged=True, second_moment=0.999))
    with pytest.raises(ConfigError, match=rf"no bound with decoupled weight decay, got 0\.1: .*; {instead}"):
        majorant(shape, UpdateRule((0.1,), decay=0.1))
    recipe = TrainRecipe(steps=2, batch=1, learning_rate=0.1, clip_norm=1.0)
    assert without_bound(recipe) == ["AdamW's metric follows the gradients", "gradients are clipped at 1.0"]


def test_the_surface_of_decay_is_the_loss_with_its_square() -> None:
    setup = linear_setup(seed=2, examples=3)
    base, data = setup.base_state(Path()), setup.datasets["a"]
    plain, decayed = LossSurface(setup, base), LossSurface(setup, base, l2=0.5)
    x = torch.ones(5, dtype=torch.float64)
    place = base["theta"] + x
    assert decayed.value(data, x) == pytest.approx(plain.value(data, x) + 0.25 * (place @ place).item())
    torch.testing.assert_close(decayed.gradient(data, x), plain.gradient(data, x) + 0.5 * place)
    torch.testing.assert_close(decayed.gradient(data), plain.gradient(data) + 0.5 * base["theta"])
    torch.testing.assert_close(decayed.products(data, x[None]), plain.products(data, x[None]) + 0.5)
