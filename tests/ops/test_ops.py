"""The door: dtypes, shapes, gradients, torch.compile, in-place writing, and every refusal."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from m2m import _core
from m2m.errors import InputError, MixtureError
from m2m.ops import DTYPES, weighted_sum, weighted_sum_into, weighted_sum_reference
from m2m.testing.laws import assert_same_bits


def make_experts(n, shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(n)]


def make_weights(m, n, seed=1):
    weights = torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return weights.masked_fill(weights.abs() < 0.3, 0.0)


@pytest.fixture
def every_isa():
    """Give the list of instruction sets to loop over, and the one in use back afterwards."""
    current = _core.current_isa()
    yield _core.available_isas()
    _core.use_isa(current)


@pytest.mark.parametrize(("dtype", "out_dtype"), list(itertools.product(DTYPES, DTYPES)))
def test_bits_of_the_reference_on_every_isa(dtype, out_dtype, every_isa):
    experts = make_experts(5, (7, 191), dtype)
    weights = make_weights(9, 5)
    want = weighted_sum_reference(experts, weights, out_dtype=out_dtype)
    for isa in every_isa:
        _core.use_isa(isa)
        assert_same_bits(weighted_sum(experts, weights, out_dtype=out_dtype), want, isa)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (8, 16), (9, 17), (3, 40), (17, 33)])
def test_any_number_of_candidates_and_experts(m, n):
    experts = make_experts(n, (517,), torch.bfloat16)
    weights = make_weights(m, n)
    assert_same_bits(weighted_sum(experts, weights), weighted_sum_reference(experts, weights), f"{m} x {n}")


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 5)])
def test_shapes(shape):
    experts = make_experts(3, shape, torch.float32)
    merged = weighted_sum(experts, make_weights(2, 3))
    assert merged.shape == (2, *shape)
    assert_same_bits(merged, weighted_sum_reference(experts, make_weights(2, 3)), str(shape))


def test_strided_experts_and_weights_of_every_kind():
    experts = make_experts(3, (6, 4), torch.float32)
    strided = [expert.T.contiguous().T for expert in experts]
    weights = make_weights(2, 3)
    want = weighted_sum(experts, weights)
    for given in (weights, weights.T.contiguous().T, weights.numpy(), weights.tolist()):
        assert_same_bits(weighted_sum(strided, given), want, "strided")


def test_float32_weights_of_a_float64_list_are_rounded_once():
    third = [[1 / 3, 2 / 3]]
    experts = make_experts(2, (5,), torch.float32)
    assert_same_bits(weighted_sum(experts, third), weighted_sum(experts, np.float32(third)), "weights")


def test_subnormals_and_rounding_mode_of_the_caller_do_not_matter():
    experts = [torch.full((9,), 3e-40), torch.full((9,), 1e-39)]
    want = weighted_sum(experts, [[0.5, 0.25]])
    assert torch.set_flush_denormal(True)
    try:
        got = weighted_sum(experts, [[0.5, 0.25]])
    finally:
        torch.set_flush_denormal(False)
    assert bool((want > 0).all())
    assert_same_bits(got, want, "flushed")


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_come_through(dtype):
    experts = [
        torch.tensor([torch.inf, torch.nan, 1.0], dtype=dtype),
        torch.tensor([-torch.inf, 0.0, 1.0], dtype=dtype),
    ]
    merged = weighted_sum(experts, [[1.0, 1.0], [1.0, 0.0]])
    assert_same_bits(merged, weighted_sum_reference(experts, [[1.0, 1.0], [1.0, 0.0]]), "non-finite")
    assert merged.isnan().tolist() == [[True, True, False], [False, True, False]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_keep_their_sign(dtype):
    signs = [1.0, -1.0]
    for first, second, weight in itertools.product(signs, signs, signs):
        experts = [torch.tensor([0.0 * sign, 3.0 * sign], dtype=dtype) for sign in (first, second)]
        weights = [[weight, weight], [weight, -weight]]
        want = weighted_sum_reference(experts, weights)
        assert_same_bits(weighted_sum(experts, weights), want, f"zeros of sign {first}, {second}")
        products = [math.copysign(0.0, first * weight), math.copysign(0.0, second * weight)]
        assert math.copysign(1.0, want[0, 0]) == math.copysign(1.0, sum(products, start=-0.0))


def test_gradients():
    experts = [expert.requires_grad_() for expert in make_experts(3, (2, 4), torch.float64)]
    weights = make_weights(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda w, *x: weighted_sum(x, w), (weights, *experts))


def test_gradients_only_where_they_are_wanted():
    experts = make_experts(2, (4,), torch.bfloat16)
    weights = torch.rand(1, 2, requires_grad=True)
    weighted_sum(experts, weights).float().sum().backward()
    want = torch.stack([expert.float().sum() for expert in experts])
    torch.testing.assert_close(weights.grad[0], want, rtol=4 * 2.0**-24, atol=4 * 2.0**-24 * 4)


def test_opcheck():
    experts = [expert.requires_grad_() for expert in make_experts(3, (2, 4), torch.float32)]
    arguments = (experts, torch.rand(2, 3, requires_grad=True), torch.float32, 1)
    results = torch.library.opcheck(torch.ops.m2m.weighted_sum.default, arguments)
    assert set(results.values()) == {"SUCCESS"}


def test_traced_as_one_graph():
    compiled = torch.compile(
        lambda x, w: weighted_sum(x, w, threads=1) + 1, fullgraph=True, backend="aot_eager"
    )
    experts, weights = make_experts(3, (4,), torch.float32), torch.rand(2, 3)
    assert_same_bits(compiled(experts, weights), weighted_sum(experts, weights) + 1, "compiled")


@pytest.mark.parametrize("dtype", DTYPES)
def test_into_a_live_module(dtype):
    model = nn.Linear(6, 5, dtype=dtype)
    experts = make_experts(3, (5, 6), torch.float32)
    version = model.weight._version
    weighted_sum_into([model.weight], experts, [[0.2, 0.3, 0.5]])
    want = weighted_sum(experts, [[0.2, 0.3, 0.5]], out_dtype=dtype)[0]
    assert_same_bits(model.weight.detach(), want, "live")
    assert model.weight._version > version
    assert model.weight.requires_grad


def test_into_tells_autograd_that_a_saved_tensor_changed():
    parameter = nn.Parameter(torch.ones(3))
    loss = (parameter**2).sum()
    weighted_sum_into([parameter], [torch.zeros(3)], [[1.0]])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def expert_pair():
    return make_experts(2, (4,), torch.float32)


@pytest.mark.parametrize(
    ("experts", "weights", "error", "message"),
    [
        ([], [[1.0]], InputError, "experts is empty"),
        (None, [[1.0]], InputError, "experts is NoneType; expected a list of tensors"),
        ({"a": torch.ones(2)}, [[1.0]], InputError, "experts is dict; expected a list of tensors"),
        ([1], [[1.0]], InputError, r"experts\[0\] is int; expected a tensor"),
        (
            expert_pair(),
            [[1.0, 2.0, 3.0]],
            MixtureError,
            r"\[1, 3\] do not match 2 experts; expected \[M, 2\]",
        ),
        (expert_pair(), None, MixtureError, r"weights must be numbers \[M, 2\], got None"),
        (expert_pair(), [["a", "b"]], MixtureError, "weights must be numbers"),
        (expert_pair(), [1.0, 2.0], MixtureError, r"weights \[2\] do not match"),
        (expert_pair(), torch.empty(0, 2), MixtureError, "M >= 1"),
        (expert_pair(), [[1.0, float("nan")]], MixtureError, r"weights\[0, 1\] is nan; .* must be finite"),
        ([torch.ones(2), torch.ones(3)], [[1.0, 1.0]], InputError, r"experts\[1\] is \[3\] float32 on cpu"),
        ([torch.ones(2), torch.ones(2).half()], [[1.0, 1.0]], InputError, "float16"),
        ([torch.ones(2).int()], [[1.0]], InputError, r"int32, which is not averaged"),
        ([torch.ones(2, device="meta")], [[1.0]], InputError, "meta; expected cpu or cuda"),
    ],
)
def test_refusals(experts, weights, error, message):
    with pytest.raises(error, match=message):
        weighted_sum(experts, weights)


def test_refuses_other_dtypes_and_no_threads():
    with pytest.raises(InputError, match=r"out_dtype is torch\.int64"):
        weighted_sum(expert_pair(), [[1.0, 1.0]], out_dtype=torch.int64)
    with pytest.raises(InputError, match="threads is 0"):
        weighted_sum(expert_pair(), [[1.0, 1.0]], threads=0)


def test_weight_that_overflows_the_accumulation_dtype_is_refused():
    with pytest.raises(MixtureError, match=r"weights\[0, 0\] is inf"):
        weighted_sum(expert_pair(), [[1e300, 1.0]])


def test_into_refusals():
    first, second = expert_pair()
    buffer = torch.zeros(12)
    with pytest.raises(MixtureError, match="do not match 2 outputs"):
        weighted_sum_into([torch.empty(4), torch.empty(4)], [first, second], [[1.0, 1.0]])
    with pytest.raises(InputError, match=r"outs\[0\] is \[3\]"):
        weighted_sum_into([torch.empty(3)], [first, second], [[1.0, 1.0]])
    with pytest.raises(InputError, match=r"strides \(2,\).*expected contiguous"):
        weighted_sum_into([buffer[:8:2]], [first, second], [[1.0, 1.0]])
    with pytest.raises(
        InputError, match=r"experts\[1\] shares memory with outs\[0\]|outs\[0\] shares memory"
    ):
        weighted_sum_into([buffer[2:6]], [first, buffer[4:8]], [[1.0, 1.0]])
    with pytest.raises(InputError, match="shares memory"):
        weighted_sum_into([buffer[:4], buffer[3:7]], [first, second], [[1.0, 0.0], [0.0, 1.0]])
    weighted_sum_into([buffer[:4], buffer[4:8]], [first, first], [[1.0, 0.0], [0.0, 1.0]])
    assert_same_bits(buffer[:8], torch.cat([first, first]), "neighbours and repeated experts are fine")
