"""Twins of nearswap and arcee_fusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from m2m.merging.methods.spec import Inputs, Settings
from m2m.merging.methods.twins.rounding import round_once, task_vectors

#: Keeps the logarithm of a softmax value finite; part of the method's definition.
_EPSILON = 1e-8


def merge(inputs: Inputs, settings: Settings, out_dtype: torch.dtype, *, rule: str) -> Tensor:
    """Merge one tensor of the base model and one expert.

    Args:
        inputs: Base model and expert. each [*S]
        settings: `t` for nearswap.
        out_dtype: Type of the result.
        rule: `nearswap` or `arcee_fusion`.

    Returns:
        The merged tensor. [*S]
    """
    assert inputs.base is not None
    base, expert = inputs.base, inputs.experts[0]
    vector = task_vectors(base, [expert])[0].double()
    if rule == "nearswap":
        return round_once(near_swap(base.double(), expert.double(), vector, settings.number("t")), out_dtype)
    return round_once(torch.where(important(base, expert, vector), expert.double(), base.double()), out_dtype)


def near_swap(base: Tensor, expert: Tensor, vector: Tensor, t: float) -> Tensor:
    """Move every base weight towards the expert by at most t.

    θ where |τ| ≤ t, else θ₀ ± t, which is θ₀ + min(1, t/|τ|)·τ.

    Args:
        base: θ₀, float64. [*S]
        expert: θ, float64. [*S]
        vector: τ. [*S]
        t: The longest step.

    Returns:
        The merged weights, float64. [*S]
    """
    return torch.where(
        vector.abs() <= t, expert, base + torch.copysign(torch.tensor(t, dtype=torch.float64), vector)
    )


def important(base: Tensor, expert: Tensor, vector: Tensor) -> Tensor:
    """Mark the elements whose importance |τ|·KL(row) is at least median + 1.5·(Q3 − Q1).

    KL(row) = Σ p log(p/q), p and q the softmax over the last axis of expert and base, each plus 1e-8;
    float64. A quantile f is the element of rank floor(f·(P−1)) in ascending order, exact.

    Args:
        base: θ₀. [*S]
        expert: θ. [*S]
        vector: τ, float64. [*S]

    Returns:
        A mask. [*S]
    """
    if not vector.numel():
        return torch.zeros_like(vector, dtype=torch.bool)
    p, q = (torch.softmax(_rows(tensor.double()), dim=-1) + _EPSILON for tensor in (expert, base))
    divergence = (p * torch.log(p / q)).sum(dim=-1, keepdim=True)
    importance = _rows(vector).abs() * divergence
    flat = importance.reshape(-1)
    first, median, third = (
        flat.kthvalue(math.floor(f * (flat.numel() - 1)) + 1).values for f in (0.25, 0.5, 0.75)
    )
    return (importance >= median + 1.5 * (third - first)).reshape(vector.shape)


def _rows(values: Tensor) -> Tensor:
    return values if values.dim() else values.reshape(1)
