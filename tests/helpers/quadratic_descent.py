"""Closed forms of gradient descent on quadratics: where T steps from θ₀ = 0 end, at any horizon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from helpers.linear_setup import LinearSetup
from torch import Tensor


def gradients_and_hessians(setup: LinearSetup) -> tuple[Tensor, Tensor]:
    """Return g [N, P] and H [N, P, P] of least squares at the base."""
    theta = setup.base_state(Path())["theta"]
    tensors = [data.tensors for data in setup.datasets.values()]
    g = [x.T @ (x @ theta - y) / len(x) for x, y in tensors]
    return torch.stack(g), torch.stack([x.T @ x / len(x) for x, _ in tensors])


def descend(g: Tensor, h: Tensor, rate: float, steps: int) -> Tensor:
    """Return −P_T(H) g with P_T(H) = H⁻¹(I − (I − ηH)^T), by eigenvalues so that singular H will do. [P]"""
    values, vectors = torch.linalg.eigh(h)
    # η Σ_t (1 − ημ)^t, which for small μ is steadier than (1 − (1 − ημ)^T)/μ.
    reach = rate * sum((1 - rate * values) ** t for t in range(steps))
    return -(vectors * reach) @ (vectors.T @ g)


def closed_residual(setup: LinearSetup, weights: Sequence[float], rate: float, steps: int) -> Tensor:
    """Return Δ(λ) of full-batch gradient descent exactly. [P]"""
    g, h = gradients_and_hessians(setup)
    row = torch.tensor(weights, dtype=torch.float64)
    mixture = descend(row @ g, torch.einsum("k,kij->ij", row, h), rate, steps)
    merged = sum(w * descend(g[k], h[k], rate, steps) for k, w in enumerate(weights))
    return mixture - merged
