"""Optimisers: the recursion against torch, closed forms against brute force, the expansion against both."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from analysis.interaction import UpdateRule, expand, follow
from m2m.training import TrainRecipe

WEIGHTS = (0.5, 0.3, 0.2)
rates = st.lists(st.floats(0.001, 0.1), min_size=1, max_size=7).map(tuple)
shares = st.floats(0, 0.97)
linear_rules = st.builds(
    UpdateRule, rates, momentum=shares, averaged=st.booleans(), decay=st.floats(0, 1), l2=st.floats(0, 1)
)
adam_rules = st.builds(
    UpdateRule,
    rates,
    momentum=shares,
    averaged=st.just(True),
    decay=st.floats(0, 1),
    second_moment=st.floats(0.5, 0.9999),
    epsilon=st.floats(1e-8, 0.1),
)


@dataclass
class Quadratics:
    """Three quadratic losses around θ₀: g [3, P], H [3, P, P], θ₀ [P] and a metric D [P]."""

    g: Tensor
    h: Tensor
    origin: Tensor
    metric: Tensor

    def mixed(self, weights: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        row = torch.tensor(weights, dtype=torch.float64)
        return row @ self.g, torch.einsum("k,kij->ij", row, self.h)

    def trained(self, rule: UpdateRule, weights: tuple[float, ...], metric: Tensor | None) -> Tensor:
        g, h = self.mixed(weights)
        return follow(rule, lambda _, x: g + h @ x, self.origin, metric=metric)

    def residual(self, rule: UpdateRule, metric: Tensor | None = None) -> Tensor:
        total = self.trained(rule, WEIGHTS, metric)
        for weight, corner in zip(WEIGHTS, torch.eye(3, dtype=torch.float64).tolist(), strict=True):
            total = total - weight * self.trained(rule, tuple(corner), metric)
        return total

    def covariance(self, metric: Tensor) -> Tensor:
        g, h = self.mixed(WEIGHTS)
        return sum(
            (w * metric * ((self.h[k] - h) @ (metric * (self.g[k] - g))) for k, w in enumerate(WEIGHTS)),
            torch.zeros_like(g),
        )


def quadratics(seed: int, size: int = 4) -> Quadratics:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    h = normal(3, size, size)
    return Quadratics(normal(3, size), (h + h.mT) / 2, normal(size), normal(size).abs() + 0.1)


def by_torch(optimizer: torch.optim.Optimizer, place: Tensor, case: Quadratics, rule: UpdateRule) -> Tensor:
    g, h = case.mixed(WEIGHTS)
    for rate in rule.rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        place.grad = g + h @ (place.detach() - case.origin)
        optimizer.step()
    return place.detach() - case.origin


@given(st.integers(0, 1000), linear_rules)
def test_the_recursion_is_torch_sgd(seed: int, rule: UpdateRule) -> None:
    rule, case = replace(rule, averaged=False, decay=0.0), quadratics(seed)
    place = case.origin.clone().requires_grad_()
    sgd = torch.optim.SGD([place], lr=1.0, momentum=rule.momentum, weight_decay=rule.l2)
    torch.testing.assert_close(
        case.trained(rule, WEIGHTS, None), by_torch(sgd, place, case, rule), rtol=1e-12, atol=1e-13
    )


@given(st.integers(0, 1000), adam_rules)
def test_the_recursion_is_torch_adamw(seed: int, rule: UpdateRule) -> None:
    case = quadratics(seed)
    assert rule.second_moment is not None
    place = case.origin.clone().requires_grad_()
    betas = (rule.momentum, rule.second_moment)
    adamw = torch.optim.AdamW([place], lr=1.0, betas=betas, eps=rule.epsilon, weight_decay=rule.decay)
    torch.testing.assert_close(
        case.trained(rule, WEIGHTS, None), by_torch(adamw, place, case, rule), rtol=1e-11, atol=1e-12
    )


def test_rules_of_recipes() -> None:
    recipe = TrainRecipe(steps=3, batch=1, learning_rate=1.0, schedule="linear", weight_decay=0.1)
    rule = UpdateRule.of(recipe)
    assert rule == UpdateRule(
        (1.0, pytest.approx(2 / 3), pytest.approx(1 / 3)), 0.9, averaged=True, decay=0.1, second_moment=0.999
    )
    heavy = TrainRecipe(steps=2, batch=1, learning_rate=0.5, optimizer="sgd", momentum=0.8, weight_decay=0.1)
    assert UpdateRule.of(heavy) == UpdateRule((0.5, 0.5), 0.8, l2=0.1)
    assert not UpdateRule.of(heavy).adaptive


@pytest.mark.parametrize(
    ("momentum", "averaged", "coefficient"), [(0, False, 66), (0.9, False, 678.35), (0.9, True, 38.506)]
)
def test_coefficients_of_twelve_steps(momentum: float, averaged: bool, coefficient: float) -> None:
    rule = UpdateRule((1.0,) * 12, momentum, averaged=averaged)
    assert rule.coefficient == pytest.approx(coefficient, rel=1e-4)


@given(linear_rules)
def test_coefficients_are_sums_over_pairs_of_gradients(rule: UpdateRule) -> None:
    # The gradient of step j arrives in step s, and what it moved is seen by the gradient of a later step i,
    # which arrives in step r; decay shrinks whatever has arrived.
    steps = range(len(rule.rates))
    kept = [1 - rate * rule.decay for rate in rule.rates]

    def weight(j: int, s: int) -> float:
        raw = [rule.momentum ** (s - i) if s > i else 1.0 for i in range(s + 1)]
        return rule.rates[s] * raw[j] / (sum(raw) if rule.averaged else 1)

    def seen(arrived: int, at: int) -> float:
        return math.prod(kept[arrived + 1 : at])

    total = len(rule.rates)
    gradient = sum(weight(j, s) * seen(s, total) for s in steps for j in range(s + 1))
    curvature = sum(
        weight(j, s) * seen(s, i) * weight(i, r) * seen(r, total)
        for r in steps
        for i in range(r + 1)
        for s in range(i)
        for j in range(s + 1)
    )
    pull = sum((1 - math.prod(kept[:i])) * weight(i, r) * seen(r, total) for r in steps for i in range(r + 1))
    found = rule.coefficients
    assert found.gradient[-1] == pytest.approx(gradient, rel=1e-12)
    assert found.curvature[-1] == pytest.approx(curvature, rel=1e-11)
    assert found.pull[-1] == pytest.approx(pull, rel=1e-9, abs=1e-15)
    assert found.shrinkage[-1] == pytest.approx(1 - math.prod(kept), rel=1e-12, abs=1e-15)
    assert rule.gradient_weights.sum() == pytest.approx(gradient, rel=1e-12)


@given(rates, st.booleans())
def test_without_memory_and_decay_it_is_gradient_descent(steps: tuple[float, ...], averaged: bool) -> None:
    rule = UpdateRule(steps, averaged=averaged)
    np.testing.assert_array_equal(rule.kernel, np.eye(len(steps)))
    assert rule.total == pytest.approx(sum(steps))
    pairs = sum(steps[s] * steps[t] for t in range(len(steps)) for s in range(t))
    assert rule.coefficient == pytest.approx(pairs, rel=1e-12)
    assert not rule.coefficients.pull.any()
    assert not rule.coefficients.shrinkage.any()
    assert UpdateRule.constant(0.5, 4).coefficient == pytest.approx(0.25 * 4 * 3 / 2)


@given(linear_rules)
def test_one_step_bends_nothing(rule: UpdateRule) -> None:
    one = replace(rule, rates=rule.rates[:1])
    assert one.coefficient == 0
    assert one.coefficients.pull[-1] == 0


@given(st.integers(0, 1000), linear_rules, st.booleans())
def test_what_second_order_leaves_is_of_third_order(seed: int, rule: UpdateRule, scaled: bool) -> None:
    case = quadratics(seed)
    metric = case.metric if scaled else torch.ones_like(case.metric)
    left = case.residual(rule, metric) + rule.coefficient * case.covariance(metric)
    # In y = D^(−1/2)x a frozen metric is gradient descent on g̃ = D^(1/2)g, H̃ = D^(1/2)HD^(1/2). Order n has
    # at most Aⁿ/n! of ‖H̃‖^(n−1)‖g̃‖ and P·Aⁿ/n! of ‖H̃‖ⁿ‖θ̃₀‖, P ≥ p: c grows by K_s c_s a step. From n = 3 and
    # n = 2 on their sums are at most the first term times exp(A‖H̃‖); P counts as one order, as η does.
    root, still = metric.sqrt(), rule.l2 * torch.eye(4, dtype=torch.float64)
    mixed = [(WEIGHTS, 1.0), *zip(torch.eye(3).tolist(), WEIGHTS, strict=True)]
    plain, bound = replace(rule, decay=0.0), 0.0
    for weights, share in mixed:
        g, h = case.mixed(tuple(weights))
        bent = torch.linalg.matrix_norm(root[:, None] * (h + still) * root, 2).item()
        slope = (root * (g + rule.l2 * case.origin)).norm().item()
        reach, gone = plain.total, rule.decay * sum(rule.rates)
        start = (case.origin / root).norm().item()
        third = reach**3 * bent**2 / 6 * slope + gone * reach**2 * bent**2 / 2 * start
        bound += share * third * math.exp(reach * bent)
    bound *= root.max().item()
    assert left.norm() <= bound + 1e-13


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_halving_the_rate_leaves_an_eighth(momentum: float, averaged: bool, decay: float) -> None:
    case = quadratics(7)

    def left(rate: float) -> float:
        rule = UpdateRule((rate, rate / 2, rate, rate), momentum, averaged=averaged, decay=decay)
        rest = case.residual(rule, case.metric) + rule.coefficient * case.covariance(case.metric)
        return rest.norm().item()

    # ηA‖DH‖ is below 0.02 here, and the fourth order is that times the third, up to a factor of order one.
    assert left(1e-4) / left(5e-5) == pytest.approx(8, rel=0.02)


@given(st.integers(0, 1000), linear_rules)
def test_the_expansion_of_a_frozen_metric_is_the_closed_form(seed: int, rule: UpdateRule) -> None:
    case = quadratics(seed)
    g, h = case.mixed(WEIGHTS)
    found = expand(rule, g, lambda rows: rows @ h, case.origin, metric=case.metric)
    table, g = rule.coefficients, g + rule.l2 * case.origin
    h, d = h + rule.l2 * torch.eye(4, dtype=torch.float64), case.metric
    first = -(table.gradient[-1] * d * g + table.shrinkage[-1] * case.origin)
    second = d * (h @ (table.curvature[-1] * d * g + table.pull[-1] * case.origin))
    torch.testing.assert_close(found.first, first, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.second, second, rtol=1e-9, atol=1e-12)


@given(st.integers(0, 1000), adam_rules | linear_rules)
def test_two_steps_on_a_quadratic_are_expanded_exactly(seed: int, rule: UpdateRule) -> None:
    rule, case = replace(rule, rates=rule.rates[:2]), quadratics(seed)
    g, h = case.mixed(WEIGHTS)
    found = expand(replace(rule, l2=0.0), g, lambda rows: rows @ h, case.origin)
    torch.testing.assert_close(
        found.total, case.trained(replace(rule, l2=0.0), WEIGHTS, None), rtol=1e-9, atol=1e-11
    )


def test_adam_expanded_leaves_a_third_order() -> None:
    case = quadratics(3)
    g, h = case.mixed(WEIGHTS)

    def left(rate: float) -> float:
        rule = UpdateRule((rate,) * 5, 0.9, averaged=True, decay=0.5, second_moment=0.99, epsilon=0.1)
        found = expand(rule, g, lambda rows: rows @ h, case.origin)
        return (found.total - case.trained(rule, WEIGHTS, None)).norm().item()

    assert left(1e-4) / left(5e-5) == pytest.approx(8, rel=0.02)


@settings(max_examples=30)
@given(st.integers(0, 1000), adam_rules)
def test_adam_on_one_gradient_goes_straight(seed: int, rule: UpdateRule) -> None:
    case = quadratics(seed)
    straight = expand(rule, case.g[0], torch.zeros_like, case.origin)
    # Moments of a constant gradient are the gradient and its square, whatever β₁ and β₂.
    kept = math.prod(1 - rate * rule.decay for rate in rule.rates)
    phi = case.g[0] / (case.g[0].abs() + rule.epsilon)
    expected = -(1 - kept) * case.origin - rule.total * phi
    torch.testing.assert_close(straight.first, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(straight.second, torch.zeros_like(expected), rtol=0, atol=1e-11)
