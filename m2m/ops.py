r"""The weighted sum of tensors in memory: N experts become M candidates.

Numeric contract, bitwise the same on every device, instruction set, thread count, chunking and M:

* :math:`y_m = \sum_n A_{mn}\,\theta_n`, n ascending, one fused multiply-add a term;
* float32 accumulation for float32, float16 and bfloat16 experts, float64 for float64; weights
  stay in that type;
* an expert with weight zero is absent: it changes no bit, not even the sign of a zero;
* one rounding, to nearest even, when the result is stored; a NaN is stored as the canonical quiet NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from m2m import _core
from m2m.errors import InputError, MixtureError

Weights: TypeAlias = Tensor | ArrayLike

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def weighted_sum(
    experts: Sequence[Tensor],
    weights: Weights,
    *,
    out_dtype: torch.dtype | None = None,
    threads: int | None = None,
) -> Tensor:
    r"""Merge N experts into M candidates: :math:`y_m = \sum_n A_{mn}\,\theta_n`.

    Differentiable in experts and weights, and one operator (`m2m::weighted_sum`) to torch.compile.

    Args:
        experts: N tensors of one shape, dtype (float64, float32, float16, bfloat16) and device. each [*S]
        weights: Merging weights, a row a candidate. Any sign, finite, not normalised here. [M, N]
        out_dtype: Dtype of the candidates; default None is the experts' own.
        threads: CPU threads; default None is torch's own count. Without effect on the bits and on CUDA.

    Returns:
        The candidates, on the experts' device. [M, *S]

    Raises:
        MixtureError: If `weights` is not [M, N] with M ≥ 1 and N = len(experts), or not finite.
        InputError: If experts are missing, disagree in shape, dtype or device, or are of a dtype that is not
            averaged.
    """  # noqa: DOC502 - raised by the checks this calls
    _check_experts(experts)
    matrix = _as_matrix(weights, experts)
    dtype = experts[0].dtype if out_dtype is None else out_dtype
    _check_dtype(dtype, "out_dtype")
    result: Tensor = _weighted_sum(list(experts), matrix, dtype, _thread_count(threads))
    return result


def weighted_sum_into(
    outs: Sequence[Tensor], experts: Sequence[Tensor], weights: Weights, *, threads: int | None = None
) -> None:
    """Merge N experts into M existing tensors, say a live module's parameters; autograd sees nothing.

    The bits are those of `weighted_sum` with the outputs' dtype.

    Args:
        outs: M contiguous tensors of the experts' shape and device and of one dtype; overwritten. each [*S]
        experts: N tensors of one shape, dtype and device; none may share memory with an output. each [*S]
        weights: Merging weights, a row an output. Any sign, finite, not normalised here. [M, N]
        threads: CPU threads; default None is torch's own count. Without effect on the bits and on CUDA.

    Raises:
        MixtureError: If `weights` is not [M, N] with M = len(outs) and N = len(experts), or not finite.
        InputError: If tensors disagree in shape, dtype or device, an output is not contiguous, or shares its
            memory with another tensor.
    """
    _check_experts(experts)
    matrix = _as_matrix(weights, experts).detach()
    if len(outs) != matrix.shape[0]:
        raise MixtureError(
            f"weights {list(matrix.shape)} do not match {len(outs)} outputs; expected [{len(outs)}, N]"
        )
    _check_alike(outs, "outs")
    if outs[0].shape != experts[0].shape or outs[0].device != experts[0].device:
        raise InputError(
            f"outs[0] is {_describe(outs[0])}, experts[0] {_describe(experts[0])}: they must agree"
        )
    for index, out in enumerate(outs):
        if not out.is_contiguous():
            raise InputError(
                f"outs[{index}] {list(out.shape)} has strides {out.stride()}; expected contiguous"
            )
    _check_no_overlap(outs, experts)
    _run([out.detach() for out in outs], experts, matrix, _thread_count(threads))
    torch.autograd.graph.increment_version(list(outs))


# ---- the operator ----


@torch.library.custom_op("m2m::weighted_sum", mutates_args=())
def _weighted_sum(experts: Sequence[Tensor], weights: Tensor, out_dtype: torch.dtype, threads: int) -> Tensor:
    merged = experts[0].new_empty((weights.shape[0], *experts[0].shape), dtype=out_dtype)
    _run(list(merged.unbind()), experts, weights, threads)
    return merged


@_weighted_sum.register_fake
def _(experts: Sequence[Tensor], weights: Tensor, out_dtype: torch.dtype, threads: int) -> Tensor:
    return experts[0].new_empty((weights.shape[0], *experts[0].shape), dtype=out_dtype)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    experts, weights, _, ctx.threads = inputs
    ctx.save_for_backward(weights, *experts)


def _gradients(ctx: Any, grad: Tensor) -> tuple[list[Tensor | None], Tensor | None, None, None]:
    """Return ∂/∂θ_n = Σ_m A_mn g_m, itself a weighted sum, and ∂/∂A_mn = ⟨g_m, θ_n⟩."""
    weights, *experts = ctx.saved_tensors
    for_experts, for_weights = ctx.needs_input_grad[:2]
    expert_grads: list[Tensor | None] = [None] * len(experts)
    weight_grad = None
    if any(for_experts):
        rows = list(grad.to(weights.dtype).unbind())
        summed = _weighted_sum(rows, weights.T.contiguous(), experts[0].dtype, ctx.threads)
        expert_grads = [*summed.unbind()]
    if for_weights:
        flat = grad.flatten(1).to(weights.dtype)
        columns = [flat @ expert.flatten().to(weights.dtype) for expert in experts]
        weight_grad = torch.stack(columns, dim=1).to(weights.device)
    return expert_grads, weight_grad, None, None


_weighted_sum.register_autograd(_gradients, setup_context=_remember)


def _run(outs: Sequence[Tensor], experts: Sequence[Tensor], weights: Tensor, threads: int) -> None:
    # Hand checked tensors to the compiled module, on the device they are on.
    matrix = weights.detach().to("cpu").contiguous()
    if not bool(matrix.isfinite().all()):
        row, column = (~matrix.isfinite()).nonzero()[0].tolist()
        raise MixtureError(
            f"weights[{row}, {column}] is {matrix[row, column].item()}; merging weights must be finite"
        )
    inputs = [expert.detach().contiguous() for expert in experts]
    device = inputs[0].device
    if device.type == "cpu":
        _core.merge(outs, inputs, matrix, threads)
        return
    with torch.cuda.device(device):
        stream = torch.cuda.current_stream(device)
        _core.merge_cuda(outs, inputs, matrix, stream.device_index, stream.cuda_stream)


# ---- checks ----


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which experts of one dtype are summed and their weights are kept.

    Args:
        dtype: The experts' dtype.

    Returns:
        float64 for float64, float32 for the rest.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def _describe(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"


def _check_dtype(dtype: torch.dtype, what: str) -> None:
    if dtype not in DTYPES:
        names = ", ".join(str(known).removeprefix("torch.") for known in DTYPES)
        raise InputError(f"{what} is {dtype}, which is not averaged; expected one of {names}")


def _check_alike(tensors: Sequence[Tensor], what: str) -> None:
    if not isinstance(tensors, Sequence | Tensor):
        raise InputError(f"{what} is {type(tensors).__name__}; expected a list of tensors")
    if not len(tensors):
        raise InputError(f"{what} is empty; expected at least one tensor")
    wrong = next((i for i, tensor in enumerate(tensors) if not isinstance(tensor, Tensor)), None)
    if wrong is not None:
        raise InputError(f"{what}[{wrong}] is {type(tensors[wrong]).__name__}; expected a tensor")
    first = tensors[0]
    _check_dtype(first.dtype, f"{what}[0].dtype")
    for index, tensor in enumerate(tensors):
        same = tensor.shape == first.shape and tensor.dtype == first.dtype and tensor.device == first.device
        if not same:
            raise InputError(
                f"{what}[{index}] is {_describe(tensor)}; {what}[0] is {_describe(first)}: they must agree"
            )


def _check_experts(experts: Sequence[Tensor]) -> None:
    _check_alike(experts, "experts")
    device = experts[0].device.type
    if device not in {"cpu", "cuda"}:
        raise InputError(f"experts are on {device}; expected cpu or cuda")
    if device == "cuda" and not _core.cuda_archs:
        raise InputError("experts are on cuda, but m2m was built without CUDA; build it with M2M_CUDA=1")


def _as_matrix(weights: Weights, experts: Sequence[Tensor]) -> Tensor:
    # [M, N] in the accumulation dtype: rounded once, from float64 where the weights come as Python numbers.
    try:
        matrix = weights if isinstance(weights, Tensor) else torch.as_tensor(weights, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise MixtureError(f"weights must be numbers [M, {len(experts)}], got {weights!r:.60}") from None
    if matrix.ndim != 2 or matrix.shape[0] < 1 or matrix.shape[1] != len(experts):
        wanted = f"[M, {len(experts)}] with M >= 1"
        raise MixtureError(
            f"weights {list(matrix.shape)} do not match {len(experts)} experts; expected {wanted}"
        )
    return matrix.to(accumulation_dtype(experts[0].dtype))


def _thread_count(threads: int | None) -> int:
    count = torch.get_num_threads() if threads is None else threads
    if count < 1:
        raise InputError(f"threads is {count}; expected 1 or more")
    return count


def _check_no_overlap(outs: Sequence[Tensor], experts: Sequence[Tensor]) -> None:
    # An output that is read again, or written twice, would make the result depend on the order of work.
    tensors = [(f"outs[{i}]", tensor) for i, tensor in enumerate(outs) if tensor.numel()]
    tensors += [(f"experts[{i}]", tensor) for i, tensor in enumerate(experts) if tensor.numel()]
    # How far the tensors seen so far reach, and which one does.
    furthest = {"outs": (0, ""), "experts": (0, "")}
    for start, stop, name in sorted((*_span(tensor), name) for name, tensor in tensors):
        kind = name.partition("[")[0]
        for other in ("outs", "experts") if kind == "outs" else ("outs",):
            reach, owner = furthest[other]
            if start < reach:
                raise InputError(f"{name} shares memory with {owner}; an output needs its own")
        furthest[kind] = max(furthest[kind], (stop, name))


def _span(tensor: Tensor) -> tuple[int, int]:
    """Return the first and the one-past-last address that a tensor touches."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


# ---- the readable twin ----


def weighted_sum_reference(
    experts: Sequence[Tensor], weights: Weights, *, out_dtype: torch.dtype | None = None
) -> Tensor:
    """Compute `weighted_sum` in plain torch, bit for bit, slowly: the contract written a second time.

    torch has no fused multiply-add, so each one is emulated with rounding to odd (Boldo and Melquiond 2008,
    "Emulation of FMA and correctly rounded sums", IEEE Trans. Computers 57(4)). In float64 the bits agree
    unless a product under- or overflows.

    Args:
        experts: N tensors of one shape and dtype. each [*S]
        weights: Merging weights, a row a candidate. [M, N]
        out_dtype: Dtype of the candidates; default None is the experts' own.

    Returns:
        The candidates. [M, *S]
    """
    _check_experts(experts)
    matrix = _as_matrix(weights, experts).to(experts[0].device)
    fused = _fused_float64 if matrix.dtype == torch.float64 else _fused_float32
    rows = []
    for row in matrix:
        total = torch.full_like(experts[0], -0.0, dtype=matrix.dtype)
        for weight, expert in zip(row, experts, strict=True):
            if weight != 0:
                total = fused(weight, expert.to(matrix.dtype), total)
        rows.append(_store(total, experts[0].dtype if out_dtype is None else out_dtype))
    return torch.stack(rows)


def _store(total: Tensor, dtype: torch.dtype) -> Tensor:
    # torch itself goes from float64 to the 16-bit types through float32, and so rounds twice.
    if total.dtype == torch.float64 and dtype in {torch.float16, torch.bfloat16}:
        total = _odd_float32(total)
    return total.to(dtype).masked_fill(total.isnan(), math.nan)


def _fused_float32(weight: Tensor, value: Tensor, total: Tensor) -> Tensor:
    """Return fma: a product is exact in float64, and a sum rounded to odd may be rounded again."""
    return _sum_to_odd(weight.double() * value.double(), total.double()).float()


def _fused_float64(weight: Tensor, value: Tensor, total: Tensor) -> Tensor:
    """Return fma by Boldo and Melquiond's algorithm: RN(v_high + odd(t_low + v_low))."""
    product, product_error = _two_product(weight.expand_as(value), value)
    t_high, t_low = _two_sum(total, product_error)
    v_high, v_low = _two_sum(product, t_high)
    exact = v_high + _sum_to_odd(t_low, v_low)
    # The sign of an exact zero is that of the plain sum, which does not round then; the parts above lose it.
    plain = ~(product.isfinite() & total.isfinite()) | (exact == 0)
    return torch.where(plain, product + total, exact)


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a + b (Knuth) as a float64 and its exact error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return a · b (Dekker) as a float64 and its exact error."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _split(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return two halves of 26 bits (Veltkamp)."""
    shifted = a * (2.0**27 + 1)
    high = shifted - (shifted - a)
    return high, a - high


def _sum_to_odd(a: Tensor, b: Tensor) -> Tensor:
    """Return a + b rounded to odd: the last bit says that something was cut off."""
    total, error = _two_sum(a, b)
    bits = total.view(torch.int64)
    even = (bits & 1) == 0
    outwards = (error > 0) == (total > 0)  # the exact sum is further from zero than the rounded one
    odd = torch.where(outwards, bits + 1, bits - 1)
    return torch.where(total.isfinite() & (error != 0) & even, odd, bits).view(torch.float64)


def _odd_float32(value: Tensor) -> Tensor:
    """Return float64 as float32, rounded to odd."""
    nearest = value.float()
    back = nearest.double()
    bits = nearest.view(torch.int32)
    truncated = bits - (back.abs() > value.abs()).int()
    return torch.where(value.isnan(), bits, truncated | (back != value).int()).view(torch.float32)
