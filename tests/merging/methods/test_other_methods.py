"""sce, nearswap, arcee_fusion and fisher."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from m2m.errors import CheckpointError
from m2m.merging.methods import METHODS, Inputs, settings_of

U64 = 2.0**-53


def run(name: str, experts: list[Tensor], base: Tensor | None = None, **values: object) -> Tensor:
    method = METHODS[name]
    settings = settings_of(method, len(experts), **values)
    return method.reference(Inputs(experts, base), settings, experts[0].dtype)


def run_fisher(experts: list[Tensor], fisher: list[Tensor], **values: object) -> Tensor:
    settings = settings_of(METHODS["fisher"], len(experts), fisher=["f"] * len(experts), tensor="w", **values)
    return METHODS["fisher"].reference(Inputs(experts, None, fisher), settings, experts[0].dtype)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_sce_by_hand() -> None:
    base = torch.zeros(4)
    a, b = torch.tensor([2.0, 0.0, 1.0, -1.0]), torch.tensor([-4.0, 0.0, 1.0, 0.0])
    # Energies 6 and 17. Elements: signs differ, −4 wins; nothing; both agree on 1; only a.
    assert run("sce", [a, b], base).tolist() == [-4.0, 0.0, 1.0, -1.0]
    # Variances 9, 0, 0, 1/4: two are not zero, half of them is one element, the first.
    assert run("sce", [a, b], base, select_topk=0.5).tolist() == [-4.0, 0.0, 0.0, 0.0]
    assert run("sce", [a, b], base, select_topk=0).tolist() == [0.0] * 4


def test_sce_weights_by_energy() -> None:
    base = torch.zeros(2, dtype=torch.float64)
    a, b = torch.tensor([3.0, 1.0]).double(), torch.tensor([1.0, 2.0]).double()
    merged = run("sce", [a, b], base)
    expected = (10 * a + 5 * b) / 15
    assert (merged - expected).abs().max() <= 12 * U64 * 3


@given(st.integers(0, 99), st.integers(1, 4))
def test_sce_of_identical_experts_is_the_expert(seed: int, count: int) -> None:
    base = normal(seed, 3, 4).bfloat16()
    expert = base + (0.1 * normal(seed + 1, 3, 4)).bfloat16()
    assert torch.equal(run("sce", [expert] * count, base), expert)
    # No element varies, so a share of those that vary is none.
    assert torch.equal(run("sce", [expert] * count, base, select_topk=0.5), base)


@given(st.integers(0, 99), st.floats(1e-3, 4))
def test_nearswap_moves_at_most_t(seed: int, t: float) -> None:
    base, expert = normal(seed, 40).double(), normal(seed + 1, 40).double()
    merged = run("nearswap", [expert], base, t=t)
    near = (expert - base).abs() <= t
    assert torch.equal(merged[near], expert[near])
    share = t / (expert - base).abs()[~near]
    along = base[~near] + share * (expert - base)[~near]
    assert (merged[~near] - along).abs().le(6 * U64 * (base[~near].abs() + t)).all()
    assert torch.equal(run("nearswap", [expert], base, t=1e9), expert)


def test_arcee_fusion_takes_important_elements_whole() -> None:
    base = normal(0, 8, 16)
    expert = base.clone()
    expert[2, 3] += 3.0
    expert[5] += 0.001 * normal(1, 16)
    merged = run("arcee_fusion", [expert], base)
    assert torch.equal(merged[2], expert[2])  # only one element of that row differs
    # Three quarters of the importances and more are 0, so the threshold is 0 and every element counts.
    assert torch.equal(merged, expert)


def test_arcee_fusion_thresholds_at_median_and_quartiles() -> None:
    base = normal(0, 8, 16).double()
    expert = base + 0.1 * normal(1, 8, 16).double()
    merged = run("arcee_fusion", [expert], base)
    p, q = torch.softmax(expert, -1) + 1e-8, torch.softmax(base, -1) + 1e-8
    importance = ((expert - base).abs() * (p * (p / q).log()).sum(-1, keepdim=True)).flatten().sort()
    ordered = importance.values
    threshold = ordered[63] + 1.5 * (ordered[95] - ordered[31])
    chosen = torch.zeros(128, dtype=torch.bool)
    chosen[importance.indices[ordered >= threshold]] = True
    assert 0 < chosen.sum() < 64
    assert torch.equal(merged.flatten(), torch.where(chosen, expert.flatten(), base.flatten()))


@given(st.integers(0, 99), st.integers(1, 4))
def test_fisher_is_the_weighted_mean_by_certainty(seed: int, count: int) -> None:
    experts = [normal(seed + n, 20).double() for n in range(count)]
    fisher = [normal(seed + 50 + n, 20).double() ** 2 for n in range(count)]
    weight = [1.0 + n for n in range(count)]
    merged = run_fisher(experts, fisher, weight=weight)
    sure = [w * f.clamp(min=1e-6) for w, f in zip(weight, fisher, strict=True)]
    total = torch.stack(sure).sum(0)
    exact = torch.stack([s * e for s, e in zip(sure, experts, strict=True)]).sum(0) / total
    size = torch.stack([s * e.abs() for s, e in zip(sure, experts, strict=True)]).sum(0) / total
    assert torch.all((merged - exact).abs() <= 4 * (count + 3) * U64 * size)


def test_fisher_without_certainty_is_the_mean() -> None:
    experts = [normal(n, 20).double() for n in range(2)]
    merged = run_fisher(experts, [torch.zeros(20)] * 2)
    size = (experts[0].abs() + experts[1].abs()) / 2
    assert torch.all((merged - (experts[0] + experts[1]) / 2).abs() <= 6 * U64 * size)


def test_fisher_refuses_a_negative_or_misshapen_estimate() -> None:
    expert = normal(0, 3)
    for fisher in (-torch.ones(3), torch.ones(4)):
        with pytest.raises(CheckpointError, match="Fisher estimate 0 of w"):
            run_fisher([expert], [fisher])
