"""ram and ramplus_tl: what one expert moves alone stays whole, what several move is averaged."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from m2m.errors import RecipeError
from m2m.merging.methods import METHODS, Inputs, settings_of

U64 = 2.0**-53


def run(name: str, experts: list[Tensor], base: Tensor, **values: object) -> Tensor:
    method = METHODS[name]
    settings = settings_of(method, len(experts), **values)
    return method.reference(Inputs(experts, base), settings, experts[0].dtype)


def sparse(seed: int, count: int) -> Tensor:
    """Task vectors as reinforcement learning leaves them: most elements do not move."""
    generator = torch.Generator().manual_seed(seed)
    moved = torch.rand(count, generator=generator) < 0.3
    return torch.where(moved, torch.randn(count, generator=generator), 0.0).double()


def test_ram_by_hand() -> None:
    base = torch.zeros(5)
    a, b = torch.tensor([2.0, 0.0, 1.0, -1.0, 0.1]), torch.tensor([-4.0, 0.0, 0.1, 0.0, 0.1])
    # Both move: their mean; none; a alone; a alone; both too little. A step of epsilon is too little.
    assert run("ram", [a, b], base, epsilon=0.5).tolist() == [-1.0, 0.0, 1.0, -1.0, 0.0]
    assert run("ram", [a, b], base, epsilon=1).tolist() == [-1.0, 0.0, 0.0, 0.0, 0.0]


def test_ramplus_by_hand() -> None:
    base = torch.zeros(5)
    a, b = torch.tensor([2.0, 1.0, -1.0, 0.0, 0.0]), torch.tensor([4.0, 0.0, 0.0, 0.0, -2.0])
    # One element is shared; a moves two alone, so 1/2, and b one.
    assert run("ramplus_tl", [a, b], base, r=0.5, alpha=1).tolist() == [3.0, 1.25, -1.25, 0.0, -3.0]
    assert run("ramplus_tl", [a, b], base, r=0.5, alpha=0.25).tolist() == [3.0, 1.125, -1.125, 0.0, -2.25]
    # c moves nothing alone: nothing to scale, and nothing to divide by.
    c = torch.tensor([6.0, 0.0, 0.0, 0.0, 0.0])
    assert run("ramplus_tl", [a, c], base, r=0.5, alpha=1).tolist() == [4.0, 1.25, -1.25, 0.0, 0.0]


@given(st.integers(0, 999), st.integers(1, 5), st.floats(0, 1))
def test_ramplus_without_gain_is_ram(seed: int, count: int, epsilon: float) -> None:
    base = sparse(seed, 60)
    experts = [base + sparse(seed + 1 + n, 60) for n in range(count)]
    plain = run("ram", experts, base, epsilon=epsilon)
    assert torch.equal(run("ramplus_tl", experts, base, epsilon=epsilon, r=0), plain)
    assert torch.equal(run("ramplus_tl", experts, base, epsilon=epsilon, alpha=0), plain)


@given(st.integers(0, 999), st.integers(2, 5))
def test_experts_that_share_nothing_are_added(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(60, generator=generator).double()
    owner = torch.randint(0, count, (60,), generator=generator)
    vectors = [torch.where(owner == n, 1 + sparse(seed + n, 60).abs(), 0.0) for n in range(count)]
    experts = [base + vector for vector in vectors]
    together = base + torch.stack([expert - base for expert in experts]).sum(0)
    for name in ("ram", "ramplus_tl"):
        assert torch.equal(run(name, experts, base), together)


@given(st.integers(0, 999), st.integers(1, 5))
def test_the_order_of_experts_does_not_matter(seed: int, count: int) -> None:
    base = torch.zeros(60, dtype=torch.float64)
    experts = [sparse(seed + n, 60) for n in range(count)]
    size = torch.stack([expert.abs() for expert in experts]).sum(0)
    for name in ("ram", "ramplus_tl"):
        apart = run(name, experts, base) - run(name, experts[::-1], base)
        # Sums of at most five terms, a gain of at most 1.02, one division.
        assert torch.all(apart.abs() <= 2 * (count + 2) * U64 * 1.02 * size)


def test_settings_out_of_range_are_refused() -> None:
    for values, message in [
        ({"epsilon": -1e-9}, r"epsilon must be in \[0, inf\)"),
        ({"alpha": -0.1}, r"alpha must be in \[0, inf\)"),
        ({"r": "much"}, "r must be a number"),
        ({"density": 0.5}, "has no parameter"),
    ]:
        with pytest.raises(RecipeError, match=message):
            settings_of(METHODS["ramplus_tl"], 2, **values)
