"""Hypothesis strategies for merge math: tensors with awkward values, experts, weight matrices, mixtures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from m2m.mixture import Mixture
from m2m.ops import DTYPES

#: Experts' values: signed zeros, subnormals, ties between neighbours, cancelling pairs.
_AWKWARD = (0.0, -0.0, 1.0, -1.0, 1.00390625, 1.0 / 3.0, 5.96e-8, -5.96e-8, 1e-40, 256.5, -257.0, 5e3, -5e3)
_LARGEST = 5e3  # six experts with weights up to 2 stay within float16


def dtypes() -> st.SearchStrategy[torch.dtype]:
    """Draw a dtype that is averaged.

    Returns:
        Strategy of float64, float32, float16 and bfloat16.
    """
    return st.sampled_from(DTYPES)


def values() -> st.SearchStrategy[float]:
    """Draw one parameter: half of them awkward, half anything of magnitude 10⁻⁴⁵ to 5·10³.

    Returns:
        Strategy of finite numbers.
    """
    return st.sampled_from(_AWKWARD) | _signed(1e-45, _LARGEST)


def _signed(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most) | st.floats(-most, -least)


@st.composite
def tensors(draw: st.DrawFn, elements: int, dtype: torch.dtype) -> Tensor:
    """Draw a flat tensor: a short pattern, repeated under drawn signs, so that long tensors stay cheap.

    Args:
        draw: Given by Hypothesis.
        elements: Number of elements P.
        dtype: The tensor's dtype.

    Returns:
        The tensor. [P]
    """
    pattern = draw(st.lists(values(), min_size=1, max_size=12))
    repeated = torch.tensor(pattern, dtype=torch.float64).repeat(elements // len(pattern) + 1)[:elements]
    signs = torch.tensor(
        draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=5, max_size=5)), dtype=torch.float64
    )
    return (repeated * signs.repeat(elements // 5 + 1)[:elements]).to(dtype)


@st.composite
def experts(
    draw: st.DrawFn, dtype: torch.dtype | None = None, max_experts: int = 6, max_elements: int = 40
) -> list[Tensor]:
    """Draw N experts of one length and dtype.

    Args:
        draw: Given by Hypothesis.
        dtype: The experts' dtype; default None draws one.
        max_experts: Largest N; default 6.
        max_elements: Largest P; default 40.

    Returns:
        The experts. each [P]
    """
    chosen = draw(dtypes()) if dtype is None else dtype
    elements = draw(st.integers(1, max_elements))
    n = draw(st.integers(1, max_experts))
    return [draw(tensors(elements, chosen)) for _ in range(n)]


@st.composite
def weight_matrices(draw: st.DrawFn, n: int, max_candidates: int = 10) -> Tensor:
    """Draw merging weights of any sign: zero, or of magnitude 2⁻²⁰ to 2.

    Args:
        draw: Given by Hypothesis.
        n: Number of experts N.
        max_candidates: Largest M; default 10.

    Returns:
        The weights, float64. [M, N]
    """
    weight = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1.0 / 3.0]) | _signed(2.0**-20, 2)
    row = st.lists(weight, min_size=n, max_size=n)
    rows = draw(st.lists(row, min_size=1, max_size=max_candidates))
    return torch.tensor(rows, dtype=torch.float64)


@st.composite
def convex_weights(draw: st.DrawFn, n: int, max_candidates: int = 10) -> Tensor:
    """Draw merging weights on the simplex.

    Args:
        draw: Given by Hypothesis.
        n: Number of experts N.
        max_candidates: Largest M; default 10.

    Returns:
        Non-negative weights whose rows sum to one up to rounding, float64. [M, N]
    """
    names = [f"d{i}" for i in range(n)]
    drawn = draw(st.lists(mixtures(names), min_size=1, max_size=max_candidates))
    return torch.tensor([mixture.weights for mixture in drawn], dtype=torch.float64)


@st.composite
def mixtures(draw: st.DrawFn, datasets: Sequence[str]) -> Mixture:
    """Draw a mixture: a subset, or a point of the simplex.

    Args:
        draw: Given by Hypothesis.
        datasets: The N dataset names.

    Returns:
        The mixture.
    """
    members = draw(st.lists(st.sampled_from(list(datasets)), min_size=1, unique=True))
    if draw(st.booleans()):
        return Mixture.subset(datasets, members)
    amount = st.floats(2.0**-20, 1.0)
    return Mixture.normalised({name: draw(amount) if name in members else 0.0 for name in datasets})
