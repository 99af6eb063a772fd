"""Residuals measured by training: exact on quadratics, explained on a small net, reduced by both proxies."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.quadratic_descent import closed_residual
from helpers.small_net_setup import small_net_setup
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from analysis.curvature import LossSurface, spectral_norm
from analysis.interaction import (
    UpdateRule,
    agreement,
    anchors,
    flips,
    full_batch,
    residual_of_quadratics,
    scheffe_correction,
    score_effect,
    second_order,
    trained_residual,
)
from analysis.interaction.trained import TrainedResidual
from m2m.errors import InputError
from m2m.mixing.anchored import reached
from m2m.mixture import Mixture
from m2m.setups.protocol import Setup
from m2m.training import TrainRecipe


def measure(
    setup: Setup, weights: tuple[float, ...], rate: float, steps: int, share: float = 1.0
) -> TrainedResidual:
    """Train experts (anchored if share < 1) and the mixture by full-batch gradient descent."""
    base = setup.base_state(Path())
    experts = anchors(list(setup.datasets), share)
    recipe = TrainRecipe(steps=steps, batch=1, learning_rate=rate, optimizer="sgd")
    recipe = full_batch(setup, [*experts, reached(experts, weights)], recipe)
    return trained_residual(LossSurface(setup, base), base, experts, weights, recipe)


@pytest.mark.parametrize(("weights", "steps"), [((0.5, 0.2, 0.3), 7), ((1 / 3, 1 / 3, 1 / 3), 30)])
def test_training_on_quadratics_is_the_closed_form(weights: tuple[float, ...], steps: int) -> None:
    setup = linear_setup(seed=5, examples=3)
    found = measure(setup, weights, 0.05, steps).residual
    truth = closed_residual(setup, weights, 0.05, steps)
    assert (found - truth).norm() <= 1e-10 * truth.norm()


def test_datasets_of_different_sizes_are_still_full_batch() -> None:
    setup = linear_setup(seed=5, examples=4)
    setup.datasets = {**setup.datasets, "b": linear_setup(seed=6, examples=3).datasets["b"]}
    truth = closed_residual(setup, (0.5, 0.5, 0.0), 0.05, 5)
    assert (measure(setup, (0.5, 0.5, 0.0), 0.05, 5).residual - truth).norm() <= 1e-10 * truth.norm()


@pytest.mark.parametrize(("steps", "shared"), [(1, False), (9, True)])
def test_one_step_or_one_hessian_leaves_nothing(steps: int, shared: bool) -> None:
    setup = linear_setup(seed=8, examples=3, shared=shared)
    found = measure(setup, (0.5, 0.25, 0.25), 0.05, steps)
    # θ is stored T times with relative error u, and a gradient rounds a few dozen times.
    size = setup.base_state(Path())["theta"].norm() + found.mixture.norm()
    assert found.residual.norm() <= 100 * steps * 2.0**-53 * size


def test_the_prediction_explains_a_small_net() -> None:
    setup = small_net_setup()
    surface = LossSurface(setup, setup.base_state(Path()))
    data = setup.datasets["a"]
    sharpness = spectral_norm(lambda v: surface.products(data, v), surface.zeros())
    shares = []
    for travel in (0.02, 0.2, 2.0):
        steps = UpdateRule.constant(travel / sharpness / 10, 10)
        predicted = second_order(surface).residual((0.5, 0.25, 0.25), steps)
        found = measure(setup, (0.5, 0.25, 0.25), steps.rates[0], 10).residual
        shares.append(agreement(found, predicted).share or 0.0)
    assert shares[0] >= 0.999
    assert shares[1] >= 0.95
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize("horizon", [1, 3, 40])
def test_any_horizon_is_the_closed_form_of_quadratics(horizon: int) -> None:
    setup, steps = linear_setup(seed=5, examples=3), UpdateRule.constant(0.05, horizon)
    surface = LossSurface(setup, setup.base_state(Path()))
    found = residual_of_quadratics(
        surface, second_order(surface), Mixture(tuple("abc"), (0.6, 0, 0.4)), steps
    )
    truth = closed_residual(setup, (0.6, 0, 0.4), 0.05, horizon)
    # At T = 1 both are rounding of the travel, which is of order one.
    assert (found - truth).norm() <= 1e-10 * truth.norm() + 1e-14


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.floats(0.1, 1), min_size=3, max_size=3),
    st.floats(0.01, 0.1),
    st.integers(2, 25),
)
def test_random_quadratics_at_any_horizon(seed: int, raw: list[float], rate: float, horizon: int) -> None:
    setup, weights = linear_setup(seed, examples=3), tuple(value / sum(raw) for value in raw)
    surface = LossSurface(setup, setup.base_state(Path()))
    terms, steps = second_order(surface), UpdateRule.constant(rate, horizon)
    found = residual_of_quadratics(surface, terms, Mixture(tuple("abc"), weights), steps)
    truth = closed_residual(setup, weights, rate, horizon)
    assert (found - truth).norm() <= 1e-10 * truth.norm()


def test_one_hessian_leaves_nothing_at_any_horizon() -> None:
    setup = linear_setup(seed=8, examples=3, shared=True)
    surface = LossSurface(setup, setup.base_state(Path()))
    steps = UpdateRule.constant(0.05, 9)
    mixture = Mixture(tuple("abc"), (0.5, 0.25, 0.25))
    terms = second_order(surface)
    found = residual_of_quadratics(surface, terms, mixture, steps)
    # Nine steps of a few dozen roundings each, of numbers of the travel's size.
    assert found.norm() <= 900 * 2.0**-53 * steps.total * terms.mean_gradient(mixture.weights).norm()


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1)])
def test_relabelling_changes_no_residual(order: tuple[int, ...]) -> None:
    setup, weights, steps = linear_setup(seed=5, examples=3), (0.5, 0.2, 0.3), UpdateRule.constant(0.05, 6)
    relabelled = linear_setup(seed=5, examples=3)
    names = ["abc"[i] for i in order]
    relabelled.datasets = {name: setup.datasets[name] for name in names}
    permuted = tuple(weights[i] for i in order)

    def both(which: Setup, row: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        surface = LossSurface(which, which.base_state(Path()))
        mixture = Mixture(tuple(which.datasets), row)
        predicted = residual_of_quadratics(surface, second_order(surface), mixture, steps)
        return predicted, measure(which, row, 0.05, 6).residual

    for here, there in zip(both(setup, weights), both(relabelled, permuted), strict=True):
        assert (here - there).norm() <= 1e-12 * here.norm()
    correction = scheffe_correction(midpoints(setup, 0.05, 6), 3)
    other = scheffe_correction(midpoints(relabelled, 0.05, 6), 3)
    here, there = correction.residual(weights), other.residual(permuted)
    assert (here - there).norm() <= 1e-12 * here.norm()


def midpoints(setup: Setup, rate: float, steps: int) -> dict[tuple[int, int], Tensor]:
    count = len(setup.datasets)
    found = {}
    for k, j in combinations(range(count), 2):
        weights = tuple(0.5 if i in (k, j) else 0.0 for i in range(count))
        found[k, j] = measure(setup, weights, rate, steps).residual
    return found


def test_scheffe_is_exact_at_midpoints_and_better_inside() -> None:
    setup = linear_setup(seed=3, names="abcd", examples=3)
    pairs = midpoints(setup, 0.02, 8)
    correction = scheffe_correction(pairs, 4)
    np.testing.assert_allclose(correction.residual((0.5, 0, 0.5, 0)), pairs[0, 2], rtol=1e-12)
    inside = measure(setup, (0.25,) * 4, 0.02, 8).residual
    left = (inside - correction.residual((0.25,) * 4)).norm() / inside.norm()
    assert left < 0.2
    # What is left is of third order: relative to Δ, of first.
    half = measure(setup, (0.25,) * 4, 0.01, 8).residual
    better = half - scheffe_correction(midpoints(setup, 0.01, 8), 4).residual((0.25,) * 4)
    assert better.norm() / half.norm() == pytest.approx(left.item() / 2, rel=0.15)


def test_scheffe_wants_every_pair() -> None:
    with pytest.raises(InputError, match=r"missing \[\(0, 2\), \(1, 2\)\]"):
        scheffe_correction({(0, 1): torch.zeros(2)}, 3)


def test_anchors_shrink_the_residual_by_the_square_of_their_share() -> None:
    setup = linear_setup(seed=4, examples=3)
    weights, rate = (0.5, 0.25, 0.25), 1e-4
    plain, anchored = (measure(setup, weights, rate, 6, share).residual for share in (1.0, 0.5))
    assert anchored.norm() / plain.norm() == pytest.approx(0.25, rel=0.01)


def test_the_effect_on_the_loss_is_first_order() -> None:
    setup = small_net_setup()
    surface = LossSurface(setup, setup.base_state(Path()))
    target = setup.targets["target"].validation
    found = measure(setup, (0.5, 0.25, 0.25), 0.05, 10)

    def missed(scale: float) -> float:
        [effect] = score_effect(surface, target, found.merged, [scale * found.residual])
        moved = surface.value(target, at=found.merged + scale * found.residual)
        return moved - surface.value(target, at=found.merged) - effect

    assert missed(0.5) == pytest.approx(missed(1) / 4, rel=0.05)


def test_flips_by_hand() -> None:
    assert flips([1.0, 2.0, 4.0], [5.0, 5.0, 5.0]) == []
    assert flips([1.0, 2.0, 4.0], [0.0, 0.0, -2.5]) == [(1, 2)]
    assert flips([1.0, 1.0], [0.0, 1.0]) == []  # a tie is no order to turn round


def test_agreement_by_hand() -> None:
    found = agreement(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0]))
    assert (found.measured, found.predicted) == (5, 3)
    assert found.cosine == pytest.approx(0.6)
    assert found.share == pytest.approx(1 - 16 / 25)
    assert found.scale == pytest.approx(1)
    nothing = agreement(torch.zeros(2), torch.zeros(2))
    assert (nothing.cosine, nothing.share, nothing.scale) == (None, None, None)
