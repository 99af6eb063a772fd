"""The laws of merge math, for any implementation: a law raises AssertionError where `merge` breaks it.

Call it as you would `m2m.weighted_sum`: `merge(experts, weights)` gives the candidates [M, *S] in the
experts' dtype. Bitwise laws have no tolerance; the others use the derived bound of `m2m.testing.tolerance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from m2m.ops import accumulation_dtype, weighted_sum_reference
from m2m.testing.tolerance import unit_roundoff, weighted_sum_bound

#: Called as merge(experts, weights) or merge(experts, weights, threads=...).
Merge = Callable[..., Tensor]

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def assert_same_bits(got: Tensor, want: Tensor, what: str) -> None:
    """Require two tensors to be equal bit for bit, −0 and +0 told apart.

    Args:
        got: The tensor under test. [*S]
        want: The tensor it must be. [*S]
        what: What was compared, for the message.

    Raises:
        AssertionError: If shape, dtype or a bit differs; names the first element that does.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        raise AssertionError(
            f"{what}: got {got.dtype} {list(got.shape)}, want {want.dtype} {list(want.shape)}"
        )
    integers = _INTEGERS[want.element_size()]
    differs = got.contiguous().view(integers) != want.contiguous().view(integers)
    if bool(differs.any()):
        at = tuple(differs.nonzero()[0].tolist())
        count = int(differs.sum())
        raise AssertionError(
            f"{what}: {count} elements differ, first at {at}: got {got[at]!r}, want {want[at]!r}"
        )


def assert_within(got: Tensor, want: Tensor, bound: Tensor, what: str) -> None:
    """Require |got − want| ≤ bound, element by element, in float64.

    Args:
        got: The tensor under test. [*S]
        want: What it should be. [*S]
        bound: The largest difference allowed, float64. [*S]
        what: What was compared, for the message.

    Raises:
        AssertionError: If an element is off; names the worst one and how much of the bound it used.
    """
    used = (got.double() - want.double()).abs() / bound
    if not bool((used <= 1).all()):
        at = tuple(torch.unravel_index(used.nan_to_num(torch.inf).argmax(), used.shape))
        index = [int(i) for i in at]
        raise AssertionError(
            f"{what}: at {index} got {got[at]!r}, want {want[at]!r}, {used[at]:.3g} of the bound"
        )


def assert_one_hot_returns_expert(merge: Merge, experts: Sequence[Tensor]) -> None:
    """Weight one on one expert gives that expert back, bit for bit.

    Why: a candidate of one dataset is its expert, so its score must be the expert's own.

    Args:
        merge: The implementation under test.
        experts: N tensors without NaN. each [*S]
    """
    candidates = merge(experts, torch.eye(len(experts), dtype=torch.float64))
    assert_same_bits(candidates, torch.stack(list(experts)), "one-hot weights return the expert")


def assert_zero_weight_is_absence(merge: Merge, experts: Sequence[Tensor], weights: Tensor) -> None:
    """An expert with weight zero changes no bit: leaving it out gives the same candidate.

    Why: a subset's merged model must not depend on which other experts happen to be in the room.

    Args:
        merge: The implementation under test.
        experts: N tensors. each [*S]
        weights: Merging weights; rows without any weight are skipped. [M, N]
    """
    for row in weights:
        present = [n for n in range(len(experts)) if row[n] != 0]
        if present:
            alone = merge([experts[n] for n in present], row[present][None])
            assert_same_bits(merge(experts, row[None]), alone, "an expert with weight zero is absent")


def assert_candidates_are_independent(merge: Merge, experts: Sequence[Tensor], weights: Tensor) -> None:
    """Merging M candidates together gives each the bits it has when merged alone.

    Why: a score must not depend on which candidates shared a pass over the shards.

    Args:
        merge: The implementation under test.
        experts: N tensors. each [*S]
        weights: Merging weights. [M, N]
    """
    alone = torch.cat([merge(experts, row[None]) for row in weights])
    assert_same_bits(merge(experts, weights), alone, "candidates are independent")


def assert_chunking_is_invisible(
    merge: Merge, experts: Sequence[Tensor], weights: Tensor, cuts: Sequence[int]
) -> None:
    """Merging chunk by chunk gives the bits of merging at once.

    Why: chunk size is a matter of memory, shard layout a matter of files; neither may move a weight.

    Args:
        merge: The implementation under test.
        experts: N tensors. each [*S]
        weights: Merging weights. [M, N]
        cuts: Element numbers where the flattened experts are cut, ascending, each in [0, elements].
    """
    flat = [expert.flatten() for expert in experts]
    edges = [0, *cuts, len(flat[0])]
    chunks = [merge([expert[start:stop] for expert in flat], weights) for start, stop in pairwise(edges)]
    assert_same_bits(
        torch.cat(chunks, dim=1), merge(flat, weights), f"chunks cut at {list(cuts)} are invisible"
    )


def assert_threads_are_invisible(
    merge: Merge, experts: Sequence[Tensor], weights: Tensor, threads: Sequence[int] = (1, 2, 3)
) -> None:
    """The number of threads changes no bit.

    Why: a result that depends on the machine's size cannot be reproduced on another.

    Args:
        merge: The implementation under test; called with `threads=`.
        experts: N tensors; more than 2^15 elements each, or few threads will start. each [*S]
        weights: Merging weights. [M, N]
        threads: Thread counts to compare with the first one; default (1, 2, 3).
    """
    want = merge(experts, weights, threads=threads[0])
    for count in threads[1:]:
        assert_same_bits(merge(experts, weights, threads=count), want, f"{count} threads")


def assert_keeps_the_contract(merge: Merge, experts: Sequence[Tensor], weights: Tensor) -> None:
    """The bits are those of the reference: n ascending, fma, one rounding at the store.

    Why: only a fixed order and a fixed rounding make CPU, CUDA and streamed merges comparable to the bit.

    Args:
        merge: The implementation under test.
        experts: N tensors. each [*S]
        weights: Merging weights. [M, N]
    """
    assert_same_bits(merge(experts, weights), weighted_sum_reference(experts, weights), "numeric contract")


def assert_close_to_exact(merge: Merge, experts: Sequence[Tensor], weights: Tensor) -> None:
    """Every element is within the derived bound of the exact rational sum.

    Why: this is what rounding alone can do; anything beyond is a defect, such as weights cast to bfloat16.

    Args:
        merge: The implementation under test.
        experts: N small tensors (exact arithmetic is slow) whose sums do not overflow. each [*S]
        weights: Merging weights. [M, N]

    Raises:
        AssertionError: If an element is further away than the bound.
    """
    bound = weighted_sum_bound(experts, weights).flatten(1)
    got = merge(experts, weights).flatten(1)
    for m, row in enumerate(exact_weighted_sum(experts, weights)):
        for p, exact in enumerate(row):
            error = abs(Fraction(float(got[m, p])) - exact)
            if error > Fraction(float(bound[m, p])):
                raise AssertionError(
                    f"candidate {m}, element {p}: got {float(got[m, p])!r}, exactly {float(exact)!r};"
                    f" the error {float(error):.3g} exceeds the bound {float(bound[m, p]):.3g}"
                )


def exact_weighted_sum(experts: Sequence[Tensor], weights: Any) -> list[list[Fraction]]:
    """Compute the weighted sum in rational arithmetic, with the weights of the accumulation dtype.

    Args:
        experts: N finite tensors of one shape. each [*S], P elements
        weights: Merging weights. [M, N]

    Returns:
        The exact candidates, flattened. [M, P]
    """
    accumulation = accumulation_dtype(experts[0].dtype)
    rows = torch.as_tensor(weights, dtype=torch.float64).to(accumulation).tolist()
    columns = [[Fraction(x) for x in expert.flatten().tolist()] for expert in experts]
    exact_rows = [[Fraction(weight) for weight in row] for row in rows]
    return [
        [
            sum((a * x for a, x in zip(row, values, strict=True)), Fraction(0))
            for values in zip(*columns, strict=True)
        ]
        for row in exact_rows
    ]


def assert_convex_stays_in_hull(merge: Merge, experts: Sequence[Tensor], weights: Tensor) -> None:
    """With weights ≥ 0 of sum s, a merged value lies between s times its experts' least and greatest.

    Why: an average that leaves the range of what it averages is no average. The bound covers the roundings.

    Args:
        merge: The implementation under test.
        experts: N tensors. each [*S]
        weights: Merging weights, none negative. [M, N]
    """
    stacked = torch.stack([expert.double() for expert in experts])
    total = weights.to(accumulation_dtype(experts[0].dtype)).double().sum(dim=1)
    total = total.reshape(-1, *[1] * experts[0].ndim)
    low, high = total * stacked.amin(dim=0), total * stacked.amax(dim=0)
    got = merge(experts, weights).double()
    nearest = got.clamp(min=low, max=high)
    # `total`, `low` and `high` are rounded in float64 too: N + 1 times, by at most the largest magnitude.
    slack = (len(experts) + 1) * 2.0**-53 * torch.maximum(low.abs(), high.abs())
    assert_within(
        got, nearest, weighted_sum_bound(experts, weights) + slack, "convex weights stay in the hull"
    )


def assert_order_matters_little(
    merge: Merge, experts: Sequence[Tensor], weights: Tensor, order: Sequence[int]
) -> None:
    """Naming the experts in another order changes a candidate by rounding only.

    Why: the exact sum has no order, and both candidates are within the bound of it.

    Args:
        merge: The implementation under test.
        experts: N tensors. each [*S]
        weights: Merging weights. [M, N]
        order: A permutation of 0 … N − 1.
    """
    permuted = merge([experts[n] for n in order], weights[:, list(order)])
    bound = 2 * weighted_sum_bound(experts, weights)
    assert_within(permuted, merge(experts, weights), bound, f"experts in the order {list(order)}")


def assert_task_vectors_agree(merge: Merge, base: Tensor, experts: Sequence[Tensor], weights: Tensor) -> None:
    """Both forms of a merge agree: θ₀ + Σ A·τ = (1 − ΣA)·θ₀ + Σ A·θ.

    Why: papers write both forms (task vectors: arXiv 2212.04089, section 2); they are one merge. The bound
    adds the rounding of τ and of 1 − ΣA to that of the two sums.

    Args:
        merge: The implementation under test.
        base: θ₀, float32 or float64. [*S]
        experts: N tensors of the base's shape and dtype. each [*S]
        weights: Merging weights. [M, N]
    """
    u = unit_roundoff(base.dtype)
    weights = weights.to(base.dtype)
    vectors = [base, *(expert - base for expert in experts)]
    tau_weights = torch.cat([torch.ones(len(weights), 1, dtype=base.dtype), weights], dim=1)
    rest = 1 - weights.double().sum(dim=1, keepdim=True)
    full_weights = torch.cat([rest.to(base.dtype), weights], dim=1)
    together = [base, *experts]
    rounded_vectors = torch.tensordot(
        weights.double().abs(), torch.stack([vector.double().abs() for vector in vectors[1:]]), dims=1
    )
    # Of 1 − ΣA: N + 1 roundings in float64 and one to the base's dtype, of numbers up to 1 + Σ|A|.
    rest_error = (u + (len(experts) + 1) * 2.0**-52) * (1 + weights.double().abs().sum(dim=1))
    bound = (
        weighted_sum_bound(vectors, tau_weights)
        + weighted_sum_bound(together, full_weights)
        + u / (1 - u) * rounded_vectors * (1 + (len(experts) + 4) * 2.0**-52)
        + rest_error.reshape(-1, *[1] * base.ndim) * base.double().abs()
    )
    got, want = merge(vectors, tau_weights), merge(together, full_weights)
    assert_within(got, want, bound, "task vectors and weights agree")
