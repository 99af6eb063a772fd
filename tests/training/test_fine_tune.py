"""Training against closed forms, and the identities that Merge to Mix rests on."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.linear_setup import LinearModel, LinearSetup, linear_setup
from torch import Tensor, nn

from m2m import training
from m2m.checkpoint import Checkpoint, save
from m2m.errors import ConfigError, DataError, MixtureError
from m2m.mixture import Mixture, all_subsets
from m2m.setups.protocol import Batch, Examples, load_state
from m2m.training import TrainRecipe, fine_tune

#: 12 = a whole number of 2-example epochs for 1, 2 and 3 members: every step has the full-batch gradient.
FULL = TrainRecipe(steps=1, batch=12, learning_rate=0.1, optimizer="sgd")
#: float64 roundings of a few hundred operations on numbers of order one.
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}


def train(setup: LinearSetup, members: str, recipe: TrainRecipe, seed: int = 0) -> Tensor:
    base = setup.base_state(Path())
    mixture = Mixture.subset(tuple(setup.datasets), members)
    return fine_tune(setup, base, mixture, recipe, seed)["theta"]


def hessian_and_gradient(setup: LinearSetup, name: str) -> tuple[Tensor, Tensor]:
    x, y = setup.datasets[name].tensors
    theta = setup.base_state(Path())["theta"]
    return x.T @ x / len(x), x.T @ (x @ theta - y) / len(x)


def test_one_full_batch_step_makes_the_merge_the_mixture() -> None:
    """T = 1: both are θ₀ − η Σ λ_k g_k."""
    setup = linear_setup(seed=1)
    experts = {name: train(setup, name, FULL) for name in setup.datasets}
    for subset in all_subsets("abc"):
        merged = torch.stack([experts[name] for name in subset.members]).mean(dim=0)
        torch.testing.assert_close(train(setup, "".join(subset.members), FULL), merged, **ROUNDING)


def test_a_shared_hessian_makes_the_merge_the_mixture_at_any_horizon() -> None:
    setup = linear_setup(seed=2, shared=True)
    recipe = replace(FULL, steps=40)
    experts = {name: train(setup, name, recipe) for name in setup.datasets}
    for pair in combinations("abc", 2):
        merged = torch.stack([experts[name] for name in pair]).mean(dim=0)
        torch.testing.assert_close(train(setup, "".join(pair), recipe), merged, **ROUNDING)


def test_sgd_follows_the_closed_form_of_a_quadratic() -> None:
    """The mixture moves by −P_T(H̄)ḡ, P_T(H) = Σ_{t<T} η(I − ηH)^t; different Hessians leave a residual."""
    setup = linear_setup(seed=3)
    recipe = replace(FULL, steps=7)
    base = setup.base_state(Path())["theta"]
    for members in ("a", "ab", "abc"):
        parts = [hessian_and_gradient(setup, name) for name in members]
        h, g = (torch.stack(terms).mean(dim=0) for terms in zip(*parts, strict=True))
        step = torch.eye(len(g), dtype=torch.float64) - 0.1 * h
        move = sum(0.1 * torch.linalg.matrix_power(step, t) @ g for t in range(7))
        torch.testing.assert_close(train(setup, members, recipe), base - move, **ROUNDING)
    merged = (train(setup, "a", recipe) + train(setup, "b", recipe)) / 2
    assert (train(setup, "ab", recipe) - merged).abs().max() > 1e-4


def test_halving_the_rate_quarters_the_residual() -> None:
    """‖Δ‖ = η²T(T − 1)/2 · ‖C_λ‖ + O(η³): papers.md 2.4."""
    setup = linear_setup(seed=4)

    def residual(rate: float) -> float:
        recipe = replace(FULL, steps=5, learning_rate=rate)
        merged = (train(setup, "a", recipe) + train(setup, "b", recipe)) / 2
        return float((train(setup, "ab", recipe) - merged).norm())

    assert residual(1e-3) / residual(5e-4) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("horizon", ["matched", "pooled"])
@pytest.mark.parametrize("sampling", ["balanced", "proportional"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_mixture_of_one_is_bitwise_the_expert(horizon: Any, sampling: Any, optimizer: Any) -> None:
    setup = linear_setup(seed=5, examples=11)
    alone = LinearSetup({"b": setup.datasets["b"]})
    recipe = TrainRecipe(9, 4, 0.05, optimizer, horizon=horizon, sampling=sampling, clip_norm=1.0)
    assert torch.equal(train(setup, "b", recipe, seed=8), train(alone, "b", recipe, seed=8))


def test_training_repeats_bitwise_and_the_seed_matters() -> None:
    setup = linear_setup(seed=6, examples=11)
    recipe = TrainRecipe(9, 4, 0.05, weight_decay=0.01, schedule="cosine", warmup=2)
    assert torch.equal(train(setup, "ac", recipe, seed=1), train(setup, "ac", recipe, seed=1))
    assert not torch.equal(train(setup, "ac", recipe, seed=1), train(setup, "ac", recipe, seed=2))


def test_proportional_shares_and_the_pooled_horizon_change_the_run() -> None:
    setup = linear_setup(seed=7)
    x, y = setup.datasets["b"].tensors
    setup.datasets["b"] = Examples((x.repeat(5, 1), y.repeat(5)))
    _, g_a = hessian_and_gradient(setup, "a")
    _, g_b = hessian_and_gradient(setup, "b")
    base = setup.base_state(Path())["theta"]
    got = train(setup, "ab", replace(FULL, sampling="proportional"))
    torch.testing.assert_close(got, base - 0.1 * (g_a + 5 * g_b) / 6, **ROUNDING)
    twice = train(setup, "ab", replace(FULL, horizon="pooled"))
    torch.testing.assert_close(twice, train(setup, "ab", replace(FULL, steps=2)), rtol=0, atol=0)


def test_clipping_limits_the_step() -> None:
    setup = linear_setup(seed=8)
    moved = train(setup, "a", replace(FULL, clip_norm=1e-3)) - setup.base_state(Path())["theta"]
    assert float(moved.norm()) == pytest.approx(
        0.1 * 1e-3, rel=1e-2
    )  # torch adds 1e-6 to the norm it divides by


def test_frozen_tensors_and_the_base_stay() -> None:
    setup = linear_setup(seed=9)
    base = setup.base_state(Path())
    before = {name: tensor.clone() for name, tensor in base.items()}
    state = fine_tune(setup, base, Mixture.subset("abc", "ab"), FULL, seed=0)
    assert list(state) == list(base)
    for name in base:
        assert torch.equal(base[name], before[name])
        assert torch.equal(state[name], base[name]) == (name != "theta")
    assert not any(tensor.requires_grad for tensor in state.values())


class FullNet(LinearModel):
    """Dropout, batch norm, a tied name and a channels-last weight: what real models bring."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(width, dtype=torch.float64)
        self.again = self.theta
        self.conv = nn.Conv2d(2, 2, 3, dtype=torch.float64).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.drop(self.norm(x)))


class FullSetup(LinearSetup):
    def build(self) -> nn.Module:
        return FullNet(self.width)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, FullNet)
        assert (model.drop.training, model.norm.training) == (True, False), "frozen statistics"
        return super().loss(model, batch)


def test_real_models_features(tmp_path: Path) -> None:
    setup = FullSetup(linear_setup(seed=10, examples=6).datasets)
    base = {name: value.clone() for name, value in setup.build().state_dict().items()}
    recipe = TrainRecipe(3, 4, 0.1, "sgd")
    torch.manual_seed(1)
    first = fine_tune(setup, base, Mixture.subset("abc", "a"), recipe, seed=0)
    after_first = torch.rand(1)
    second = fine_tune(setup, base, Mixture.subset("abc", "a"), recipe, seed=0)
    assert all(torch.equal(first[name], second[name]) for name in base), "dropout is seeded"
    assert torch.equal(after_first, torch.rand(1, generator=torch.Generator().manual_seed(1))), (
        "caller's stream"
    )
    assert not torch.equal(first["theta"], base["theta"])
    assert first["theta"] is first["again"], "the tied name moves along"
    stored = Checkpoint(save(first, tmp_path / "expert"))
    assert set(stored.names) == set(base) - {"again"}, "once, as transformers stores it"
    assert torch.equal(load_state(setup.build(), stored.state()).again, first["theta"])
    assert torch.equal(first["norm.running_mean"], base["norm.running_mean"])
    assert torch.equal(first["norm.num_batches_tracked"], base["norm.num_batches_tracked"])
    assert all(tensor.is_contiguous() for tensor in first.values())


def test_divergence_is_named() -> None:
    setup = linear_setup(seed=11)
    with pytest.raises(
        ConfigError, match=r"training on a\+b diverged: the loss is (inf|nan) at step \d+ of 900"
    ):
        train(setup, "ab", replace(FULL, steps=900, learning_rate=50.0))
    with pytest.raises(
        ConfigError, match=r"diverged: theta is not finite at step 1 of 1.*learning_rate \(1e\+308\)"
    ):
        train(setup, "ab", replace(FULL, learning_rate=1e308))


def test_bad_data_is_named() -> None:
    setup = linear_setup(seed=12)
    base = setup.base_state(Path())
    with pytest.raises(MixtureError, match=r"draws from \['z'\]; there are \['a', 'b', 'c'\]"):
        fine_tune(setup, base, Mixture.subset(("a", "z"), "z"), FULL, seed=0)
    setup.datasets["b"] = Examples((torch.zeros(2, 4), torch.zeros(2)))
    with pytest.raises(DataError, match="examples of b do not batch with those of a"):
        fine_tune(setup, base, Mixture.subset("abc", "ab"), FULL, seed=0)


def test_progress_counts_the_steps() -> None:
    setup = linear_setup(seed=13)
    seen: list[tuple[int, int, str]] = []
    mixture = Mixture.subset("abc", "ab")
    fine_tune(
        setup, setup.base_state(Path()), mixture, replace(FULL, steps=2), 0, lambda *at: seen.append(at)
    )
    assert seen == [(1, 2, "training on a+b"), (2, 2, "training on a+b")]


def test_batches_follow_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = linear_setup(seed=14, examples=3)
    seen: list[Batch] = []
    loss = LinearSetup.loss
    monkeypatch.setattr(LinearSetup, "loss", lambda self, m, b: seen.append(b) or loss(self, m, b))
    train(setup, "abc", replace(FULL, batch=9))
    [(x, y)] = seen
    pooled = {(*row.tolist(), value) for row, value in zip(x, y.tolist(), strict=True)}
    data = (setup.datasets[name].tensors for name in "abc")
    assert pooled == {(*row.tolist(), v) for xs, ys in data for row, v in zip(xs, ys.tolist(), strict=True)}


def test_moments_are_the_trained_tensors_and_change_no_weight() -> None:
    setup = linear_setup(seed=14)
    base, mixture = setup.base_state(Path()), Mixture.subset("abc", "ab")
    recipe = TrainRecipe(steps=4, batch=6, learning_rate=0.01, betas=(0.0, 0.9))
    kept = training.train(setup, base, mixture, recipe, 0, moments=True)
    plain = training.train(setup, base, mixture, recipe, 0)
    assert all(torch.equal(kept.state[name], plain.state[name]) for name in base)
    assert (kept.moments.keys(), plain.moments) == ({"theta"}, {})
    # After one full-batch step v̂ is the squared gradient, whatever β₂; float32 keeps 24 bits of it.
    first = training.train(
        setup, base, Mixture.subset("abc", "a"), replace(recipe, steps=1, batch=12), 0, moments=True
    )
    _, gradient = hessian_and_gradient(setup, "a")
    torch.testing.assert_close(first.moments["theta"].double(), gradient**2, rtol=2.0**-23, atol=0.0)
