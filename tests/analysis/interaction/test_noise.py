"""Minibatch noise against every batch there is, against simulated seeds; shares that seeds do not shrink."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch
from helpers.linear_setup import linear_setup
from torch import Tensor

from analysis.curvature import LossSurface
from analysis.interaction import UpdateRule
from analysis.interaction.noise import batch_noise, residual_noise
from analysis.interaction.seed_free import SeedFree, pooled_share, seed_free
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.setups.protocol import Examples
from m2m.training import MixtureSampler


def test_the_noise_is_that_of_every_batch() -> None:
    setup = linear_setup(seed=1, examples=5)
    surface, data = LossSurface(setup, setup.base_state(Path())), setup.datasets["a"]
    batches = [
        surface.gradient(Examples(data.take(torch.tensor(rows)))) for rows in combinations(range(5), 2)
    ]
    variance = torch.stack(batches).var(0, correction=0)
    torch.testing.assert_close(batch_noise(surface, data, 2, 5), variance, rtol=1e-12, atol=1e-14)
    assert not batch_noise(surface, data, 5, 5).any()
    with pytest.raises(InputError, match="two or more examples"):
        batch_noise(surface, Examples(data.take(torch.tensor([0]))), 2, 5)


def drawn(mixture: Mixture, noise: dict[str, Tensor], steps: int, seed: int) -> Tensor:
    """Take unit steps of gradient descent on losses that are linear, with examples' own gradients. [P]"""
    sizes = {name: len(rows) for name, rows in noise.items()}
    sampler = iter(MixtureSampler(mixture, sizes, 4, seed))
    x = torch.zeros(noise["a"].shape[1], dtype=torch.float64)
    for _ in range(steps):
        for name, index in next(sampler).items():
            x -= noise[name][index].sum(0) / 4
    return x


def test_residuals_have_the_noise_that_is_predicted() -> None:
    generator = torch.Generator().manual_seed(0)
    # Examples far more than are drawn: 12 steps of 4 of 4000, so 1 % without replacement is no matter.
    noise = {name: torch.randn(4000, 40, dtype=torch.float64, generator=generator) for name in "ab"}
    mixture, alone = Mixture(("a", "b"), (0.25, 0.75)), [Mixture.subset("ab", name) for name in "ab"]
    variances = torch.stack([rows.var(0) / 4 for rows in noise.values()])
    metrics = torch.tensor([[2.0], [0.5]], dtype=torch.float64).expand(2, 40)
    rule, plain, scaled = UpdateRule.constant(1.0, 12), [], []
    for seed in range(30):
        x, a, b = (drawn(row, noise, 12, seed) for row in (mixture, *alone))
        plain.append(x - 0.25 * a - 0.75 * b)
        scaled.append(3 * x - 0.25 * 2.0 * a - 0.75 * 0.5 * b)
    # The root of the mean of 30 × 40 squares of normal numbers is off by 1/√(2n), four of it here.
    reach = 4 / (2 * 1200) ** 0.5
    found = torch.stack(plain).square().sum(1).mean().sqrt().item()
    assert found == pytest.approx(residual_noise(rule, mixture.weights, variances), rel=reach)
    found = torch.stack(scaled).square().sum(1).mean().sqrt().item()
    three = torch.full((40,), 3.0, dtype=torch.float64)
    assert found == pytest.approx(residual_noise(rule, mixture.weights, variances, metrics, three), rel=reach)


def test_momentum_scales_the_noise() -> None:
    ones, rule = torch.ones(2, 4, dtype=torch.float64), UpdateRule((1.0, 1.0), momentum=0.5)
    # The first gradient weighs 1 + ½, the second 1; λ(1 − λ) of two datasets in equal parts is ¼ + ¼.
    assert residual_noise(rule, (0.5, 0.5), ones) == pytest.approx(((2.25 + 1) * 0.5 * 4) ** 0.5)


def test_two_seeds_do_not_count_their_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(300, dtype=torch.float64, generator=generator)
    noise = 2 * torch.randn(2, 400, 300, dtype=torch.float64, generator=generator)
    parts = [seed_free(truth + one, truth + other, 0.8 * truth) for one, other in zip(*noise, strict=True)]
    length = truth.square().sum().item()
    # ⟨Δ₀, Δ₁⟩ varies by √(2·4‖t‖² + 16·300), over 400 draws a twentieth of that; four of them.
    reach = 4 * (8 * length + 4800) ** 0.5 / 20
    assert sum(part.squared for part in parts) / 400 == pytest.approx(length, abs=reach)
    assert sum(part.left for part in parts) / 400 == pytest.approx(0.04 * length, abs=reach)
    # Half as long, the direction is still all of it.
    assert sum(part.along for part in parts) / 400 == pytest.approx(length, abs=reach)
    assert seed_free(truth, truth, truth).share == 1
    assert seed_free(truth, -truth, truth).share is None


def test_pooled_shares_by_hand() -> None:
    names = ("a", "b", "c", "d")
    pairs = [Mixture.subset(names, pair) for pair in combinations(names, 2)]
    found = pooled_share(pairs, [SeedFree(2.0, 1.0, 1.5)] * 6)
    assert (found.value, found.direction, found.low, found.high, found.mixtures) == (0.5, 0.75, 0.5, 0.5, 6)
    uneven = pooled_share(pairs, [SeedFree(1.0, left, 0.5) for left in (0, 0, 0, 1, 1, 1)])
    # Leaving out a drops the three pairs of a, which are the explained ones.
    assert uneven.value == 0.5
    again = [0.0, 2 / 3, 2 / 3, 2 / 3]
    mean = sum(again) / 4
    error = (3 / 4 * sum((value - mean) ** 2 for value in again)) ** 0.5
    assert uneven.high == pytest.approx(0.5 + 3.182446 * error, rel=1e-6)
    assert "two seeds" in pooled_share([], []).reason
    assert pooled_share(pairs, [SeedFree(-1.0, 1.0, 0.0)] * 6).value is None
    few = [Mixture.subset("abc", pair) for pair in combinations("abc", 2)]
    assert pooled_share(few, [SeedFree(1.0, 0.5, 0.5)] * 3).low is None
