"""consensus and emr_unified: what becomes of an element by how the experts stand to their sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from m2m.errors import RecipeError
from m2m.merging.methods import METHODS, Inputs, settings_of

SEEDS, COUNTS = st.integers(0, 999), st.integers(1, 5)


def run(name: str, experts: list[Tensor], base: Tensor, **values: object) -> Tensor:
    method = METHODS[name]
    settings = settings_of(method, len(experts), **values)
    return method.reference(Inputs(experts, base), settings, experts[0].dtype)


def near(base: Tensor, seed: int, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [base + torch.randn(base.shape, generator=generator).double() for _ in range(count)]


def test_consensus_by_hand() -> None:
    base = torch.zeros(4)
    a, b, c = (
        torch.tensor(row) for row in ([8.0, 3.0, 1.0, 2.0], [0.5, 2.0, -1.0, -1.0], [0.5, 0.0, 0.0, -1.0])
    )
    # Sums 9, 5, 0, 0. Stakes: a; a and b; a and b (1 > 1/2); all (2 > 1, 1 > 1/2).
    three = [a, b, c]
    assert run("consensus", three, base, tall_lambda=0.5).tolist() == [0.0, 5.0, 0.0, 0.0]
    assert run("consensus", three, base, tall_lambda=0.5, k=1).tolist() == [9.0, 5.0, 0.0, 0.0]
    assert run("consensus", three, base, tall_lambda=0.5, k=3).tolist() == [0.0] * 4
    # a's own factor: 3 > |5 − 3|·1.25 still, but not 3 > |5 − 3|·1.5, nor 8 > |9 − 8|·9.
    assert run("consensus", three, base, tall_lambda=[1.25, 0.5, 0.5]).tolist() == [0.0, 5.0, 0.0, 0.0]
    assert run("consensus", three, base, tall_lambda=[1.5, 0.5, 0.5]).tolist() == [0.0] * 4
    assert run("consensus", three, base, tall_lambda=[9, 0.5, 0.5], k=1).tolist() == [0.0, 5.0, 0.0, 0.0]
    assert run("consensus", three, base, tall_lambda=0.5, **{"lambda": 0.5}).tolist() == [0.0, 2.5, 0.0, 0.0]


@given(SEEDS, st.integers(2, 5), st.sampled_from([0.2, 0.25, 0.5, 1.0]), st.integers(1, 3))
def test_consensus_is_what_masks_of_whole_models_keep(seed: int, count: int, tall: float, k: int) -> None:
    """The definition as the authors write it: distances of models, a vote, the sum of task vectors masked.

    Small whole numbers make every distance exact, and ties common.
    """
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(-8, 8, (200,), generator=generator).double()
    models = base + torch.randint(-4, 5, (count, 200), generator=generator).double()
    summed = base + (models - base).sum(0)
    votes = sum(((base - model).abs() > (summed - model).abs() * tall).int() for model in models)
    wanted = torch.where(votes >= k, summed, base)
    assert torch.equal(run("consensus", [*models], base, tall_lambda=tall, k=min(k, count)),
                       wanted if k <= count else torch.where(votes >= count, summed, base))  # fmt: skip


def test_emr_unified_by_hand() -> None:
    base = torch.zeros(4)
    a, b = torch.tensor([2.0, -3.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, -1.0, 0.0])
    # Both agree on +, the larger; −3 wins; a tie elects nothing; nothing.
    assert run("emr_unified", [a, b], base).tolist() == [2.0, -3.0, 0.0, 0.0]
    assert run("emr_unified", [a, b], base, **{"lambda": 0.5}).tolist() == [1.0, -1.5, 0.0, 0.0]


@given(SEEDS, COUNTS, st.floats(0, 2))
def test_consensus_without_votes_is_task_arithmetic(seed: int, count: int, factor: float) -> None:
    base = torch.zeros(40, dtype=torch.float64)
    experts = near(base, seed, count)
    plain = run("task_arithmetic", experts, base, weight=factor)
    merged = run("consensus", experts, base, k=0, **{"lambda": factor})
    size = torch.stack([expert.abs() for expert in experts]).sum(0) * factor
    # On a base of zeros: count terms, each rounded once as a product and once in its sum, or underflowing.
    bound = 2 * (count + 1) * (2.0**-53 * size + 2.0**-1074)
    assert torch.all((merged - plain).abs() <= bound)


@given(SEEDS, COUNTS, st.floats(0, 1))
def test_a_larger_k_moves_fewer_elements_and_none_elsewhere(seed: int, count: int, tall: float) -> None:
    base = torch.zeros(40, dtype=torch.float64)
    experts = near(base, seed, count)
    for k in range(count):
        more = run("consensus", experts, base, tall_lambda=tall, k=k)
        fewer = run("consensus", experts, base, tall_lambda=tall, k=k + 1)
        assert torch.equal(torch.where(fewer == 0, 0.0, more), fewer)


@given(SEEDS, COUNTS)
def test_emr_unified_is_one_experts_element_with_the_sign_of_the_sum(seed: int, count: int) -> None:
    base = torch.zeros(40, dtype=torch.float64)
    experts = near(base, seed, count)
    merged = run("emr_unified", experts, base)
    stacked = torch.stack(experts)
    assert bool((merged == stacked).any(0).all())
    agree = torch.where(stacked.sign() == merged.sign(), stacked.abs(), 0.0)
    assert torch.equal(agree.amax(0), merged.abs())


def test_settings_that_make_no_sense_are_refused() -> None:
    for experts, values, message in [
        (1, {}, "k must be at most the number of experts, 1, got 2: nothing would move"),
        (2, {"k": 1.5}, "k must be a whole number"),
        (2, {"tall_lambda": -0.1}, r"tall_lambda must be in \[0, inf\)"),
    ]:
        with pytest.raises(RecipeError, match=message):
            settings_of(METHODS["consensus"], experts, **values)
