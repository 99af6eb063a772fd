"""m2m.weighted_sum keeps every law, and every law catches the implementation that breaks it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.ops import DTYPES, weighted_sum, weighted_sum_reference
from m2m.testing import laws, strategies

fast = settings(max_examples=25, deadline=None)


@fast
@given(strategies.experts())
def test_one_hot(experts):
    laws.assert_one_hot_returns_expert(weighted_sum, experts)


@fast
@given(st.data())
def test_bitwise_laws(data):
    experts = data.draw(strategies.experts())
    weights = data.draw(strategies.weight_matrices(len(experts)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(experts[0])), max_size=4)))
    laws.assert_keeps_the_contract(weighted_sum, experts, weights)
    laws.assert_candidates_are_independent(weighted_sum, experts, weights)
    laws.assert_zero_weight_is_absence(weighted_sum, experts, weights)
    laws.assert_chunking_is_invisible(weighted_sum, experts, weights, cuts)


@fast
@given(st.data())
def test_laws_with_a_bound(data):
    experts = data.draw(strategies.experts(max_elements=8))
    weights = data.draw(strategies.weight_matrices(len(experts), max_candidates=4))
    laws.assert_close_to_exact(weighted_sum, experts, weights)
    order = data.draw(st.permutations(range(len(experts))))
    laws.assert_order_matters_little(weighted_sum, experts, weights, order)
    laws.assert_convex_stays_in_hull(
        weighted_sum, experts, data.draw(strategies.convex_weights(len(experts)))
    )


@fast
@given(st.data(), st.sampled_from([torch.float32, torch.float64]))
def test_task_vectors(data, dtype):
    base, *experts = data.draw(strategies.experts(dtype).filter(lambda drawn: len(drawn) > 1))
    laws.assert_task_vectors_agree(
        weighted_sum, base, experts, data.draw(strategies.weight_matrices(len(experts)))
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads(dtype):
    experts = [torch.arange(200_003).mul(7 + n).remainder(1013).sub(500).to(dtype) for n in range(3)]
    weights = torch.tensor([[0.25, 0.5, 0.25], [1 / 3, -1.0, 0.0]], dtype=torch.float64)
    laws.assert_threads_are_invisible(weighted_sum, experts, weights, (1, 2, 3, 7))


# ---- each of these is a way to be wrong that somebody has shipped ----


def weights_in_the_experts_dtype(experts, weights):
    """mergekit's linear merge casts the weights to the tensors' dtype before the sum."""
    return weighted_sum(experts, torch.as_tensor(weights).to(experts[0].dtype).double())


def rounds_twice(experts, weights):
    """Through float16 on the way to bfloat16."""
    return weighted_sum(experts, weights, out_dtype=torch.float16).to(experts[0].dtype)


def experts_backwards(experts, weights):
    return weighted_sum(experts[::-1], torch.as_tensor(weights).flip(1))


def products_rounded_before_the_sum(experts, weights):
    """Multiply and add, not fused."""
    matrix = torch.as_tensor(weights).float()
    total = matrix[:, 0, None] * experts[0].float()
    for n in range(1, len(experts)):
        total = total + matrix[:, n, None] * experts[n].float()
    return total.to(experts[0].dtype)


def sums_in_the_experts_dtype(experts, weights):
    matrix = torch.as_tensor(weights).to(experts[0].dtype)
    return sum(matrix[:, n, None] * experts[n] for n in range(len(experts)))


def adds_zeros(experts, weights):
    """Starts at +0, and lets absent experts into the sum: −0 comes back as +0."""
    return weighted_sum_reference(experts, weights) + 0.0


def average_of_the_others(experts, weights):
    """Candidates that lean on each other: normalises over all rows."""
    matrix = torch.as_tensor(weights)
    return weighted_sum(experts, matrix / matrix.abs().sum())


def scaled_up(experts, weights):
    return weighted_sum(experts, torch.as_tensor(weights) * (1 + 2**-6))


def rounds_by_position(experts, weights):
    """A vector path for whole groups of eight that differs from the path for the rest."""
    exact = weighted_sum(experts, weights, out_dtype=torch.float32)
    whole = exact.shape[1] // 8 * 8
    chopped = (exact.view(torch.int32) & -65536).view(torch.float32)
    return torch.cat([chopped[:, :whole], exact[:, whole:]], dim=1).to(experts[0].dtype)


def leaks_threads(experts, weights, threads=1):
    return weighted_sum(experts, torch.as_tensor(weights) * (1 + threads * 2**-10))


@pytest.fixture(name="experts")
def experts_fixture():
    generator = torch.Generator().manual_seed(7)
    experts = [torch.randn(37, generator=generator).bfloat16() for _ in range(5)]
    experts[0][3] = -0.0
    return experts


@pytest.fixture(name="weights")
def weights_fixture():
    weights = torch.rand(6, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    weights[1, 2] = 0.0
    return weights / weights.sum(dim=1, keepdim=True)


@pytest.mark.parametrize(
    "broken",
    [
        weights_in_the_experts_dtype,
        rounds_twice,
        experts_backwards,
        products_rounded_before_the_sum,
        sums_in_the_experts_dtype,
        rounds_by_position,
    ],
)
def test_contract_law_catches(broken, experts, weights):
    many = [torch.cat([expert * (k + 1) / 3 for k in range(300)]) for expert in experts]
    laws.assert_keeps_the_contract(weighted_sum, many, weights)
    with pytest.raises(AssertionError, match="numeric contract"):
        laws.assert_keeps_the_contract(broken, many, weights)


@pytest.mark.parametrize("broken", [weights_in_the_experts_dtype, sums_in_the_experts_dtype, scaled_up])
def test_exact_law_catches(broken, experts, weights):
    with pytest.raises(AssertionError, match="exceeds the bound"):
        laws.assert_close_to_exact(broken, experts, weights)


def test_other_laws_catch(experts, weights):
    with pytest.raises(AssertionError, match=r"one-hot.*first at \(0, 3\)"):
        laws.assert_one_hot_returns_expert(adds_zeros, experts)
    with pytest.raises(AssertionError, match="independent"):
        laws.assert_candidates_are_independent(average_of_the_others, experts, weights)
    with pytest.raises(AssertionError, match="chunks cut at"):
        laws.assert_chunking_is_invisible(rounds_by_position, experts, weights, [5, 20])
    with pytest.raises(AssertionError, match="hull"):
        laws.assert_convex_stays_in_hull(scaled_up, [experts[0]] * 5, weights)
    with pytest.raises(AssertionError, match="3 threads"):
        laws.assert_threads_are_invisible(leaks_threads, experts, weights, (2, 3))


def test_absence_law_catches_a_nan_in_an_absent_expert(experts, weights):
    def dense(experts, weights):
        return torch.einsum("mn,np->mp", weights.float(), torch.stack(experts).float()).bfloat16()

    experts[2][0] = torch.nan
    laws.assert_zero_weight_is_absence(weighted_sum, experts, weights[1:2])
    with pytest.raises(AssertionError, match="absent"):
        laws.assert_zero_weight_is_absence(dense, experts, weights[1:2])


def test_order_law_catches_position_dependent_weights(experts, weights):
    def first_counts_more(experts, weights):
        return weighted_sum(experts, weights * torch.tensor([1.1, 1, 1, 1, 1]))

    with pytest.raises(AssertionError, match="in the order"):
        laws.assert_order_matters_little(first_counts_more, experts, weights, [4, 3, 2, 1, 0])


def test_task_vector_law_catches_a_base_left_out(experts, weights):
    base, *rest = [expert.float() for expert in experts]

    def without_base(experts, weights):
        return weighted_sum(experts[1:], weights[:, 1:])

    with pytest.raises(AssertionError, match="task vectors"):
        laws.assert_task_vectors_agree(without_base, base, rest, weights[:, :4])
