"""Tables of how each dataset's curvature bends every dataset's direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, inner, norms
from analysis.curvature.products import Matrix
from m2m.errors import InputError
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Curvature:
    """Gradients g and Hessians H of N datasets' losses at θ₀, seen along gradients and task vectors τ.

    H is the generalised Gauss-Newton matrix where that was asked for.

    Attributes:
        datasets: The datasets' names. [N]
        losses: Mean loss at the base, nat. [N]
        gradient_norms: ‖g_j‖. [N]
        task_norms: ‖τ_j‖. [N]
        bent_gradients: ‖H_k g_j‖, a row a Hessian. [N, N]
        bent_tasks: ‖H_k τ_j‖, a row a Hessian. [N, N]
        slopes: g_kᵀ τ_j, nat. [N, N]
        interactions: τ_iᵀ H_k τ_j, nat; first axis k. [N, N, N]
        asymmetry: Largest |A − Aᵀ| / max|A| over the matrices A = τᵀH_kτ: rounding, since H is symmetric.
    """

    datasets: tuple[str, ...]
    losses: Floats
    gradient_norms: Floats
    task_norms: Floats
    bent_gradients: Floats
    bent_tasks: Floats
    slopes: Floats
    interactions: Floats
    asymmetry: float

    @property
    def gamma(self) -> Floats:
        """Relative effective curvature γ, a row a Hessian. [N, N].

        γ_kj = (‖H_k g_j‖/‖g_j‖) / (‖H_k g_k‖/‖g_k‖): MergeMix, arXiv 2601.17858, eq. 9; the diagonal is 1.
        It says how much domain k's curvature bends domain j's direction, not how large the residual is:
        decoupled domains have γ = I and a residual. NaN where a dataset's own H_k g_k, or a g_j, is zero.
        """
        rates = _divided(self.bent_gradients, self.gradient_norms[None, :])
        return _divided(rates, np.diag(rates)[:, None])


def curvature(
    surface: LossSurface,
    tasks: Tensor,
    datasets: Sequence[str] | None = None,
    *,
    matrix: Matrix = "hessian",
) -> Curvature:
    """Measure all N² products H_k g_j and all N² products H_k τ_j; a batch's graphs are built 2N times.

    Holds 3N vectors of P numbers at a time, and one batch's graphs.

    Args:
        surface: The losses.
        tasks: Task vectors of the datasets' experts, as rows. [N, P]
        datasets: Their names, in order; None: all of the set-up's.
        matrix: H_k of the tables: the Hessian, or the Gauss-Newton matrix.

    Returns:
        The tables.

    Raises:
        InputError: If rows and names do not match, a gradient vanishes, or gradients do not repeat.
    """
    names = tuple(datasets if datasets is not None else surface.setup.datasets)
    data = [surface.setup.datasets[name] for name in names]
    if len(tasks) != len(names):
        raise InputError(f"got {len(tasks)} task vectors for {len(names)} datasets {list(names)}")
    surface.check_deterministic(data[0])
    gradients = surface.zeros(len(names))
    for k, examples in enumerate(data):
        gradients[k] = surface.gradient(examples)
    lengths = norms(gradients)
    if not (lengths > 0).all():
        flat = names[int((lengths > 0).int().argmin())]
        raise InputError(f"dataset {flat!r}: the gradient at the base is zero, γ (eq. 9) is not defined")
    bent_gradients, bent_tasks, interactions = [], [], []
    for examples in data:
        bent_gradients.append(norms(surface.products(examples, gradients, matrix=matrix)).numpy())
        products = surface.products(examples, tasks, matrix=matrix)
        bent_tasks.append(norms(products).numpy())
        interactions.append(inner(tasks, products).numpy())
        del products  # before the next ones are made
    table = np.stack(interactions)
    return Curvature(
        datasets=names,
        losses=np.array([surface.value(examples) for examples in data]),
        gradient_norms=lengths.numpy(),
        task_norms=norms(tasks).numpy(),
        bent_gradients=np.stack(bent_gradients),
        bent_tasks=np.stack(bent_tasks),
        slopes=inner(gradients, tasks).numpy(),
        interactions=symmetric(table),
        asymmetry=asymmetry(table),
    )


def symmetric(matrices: Floats) -> Floats:
    """Average square matrices with their transposes. [..., N, N]."""
    return np.asarray((matrices + matrices.swapaxes(-1, -2)) / 2)


def asymmetry(matrices: Floats) -> float:
    """Return max|A − Aᵀ| / max|A| of the worst matrix [..., N, N]; 0 for matrices of zeros."""
    difference = np.abs(matrices - matrices.swapaxes(-1, -2)).max(axis=(-1, -2))
    size = np.abs(matrices).max(axis=(-1, -2))
    return float(np.max(np.divide(difference, size, out=np.zeros_like(size), where=size > 0)))


def _divided(top: Floats, bottom: Floats) -> Floats:
    # NaN where there is nothing positive to divide by.
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
