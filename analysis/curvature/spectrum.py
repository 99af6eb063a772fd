"""Both ends of the spectrum by Lanczos, from products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from analysis.curvature.batch_products import Matrix
from analysis.curvature.landscape import Landscape
from m2m.errors import InputError
from m2m.setups.protocol import Examples
from m2m.support.arrays import Floats

#: Multiplies row vectors by a symmetric matrix. [K, P] → [K, P]
Products = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues at both ends of a symmetric matrix.

    Attributes:
        eigenvalues: In ascending order. [K]
        residuals: ‖Hv − μv‖ of each: an eigenvalue of H lies that close to μ (Weinstein). [K]
        products: Matrix-vector products it took.
    """

    eigenvalues: Floats
    residuals: Floats
    products: int

    @property
    def norm(self) -> float:
        """‖H‖₂, to within the residual of the largest eigenvalue."""
        worst = int(np.argmax(np.abs(self.eigenvalues)))
        return float(np.abs(self.eigenvalues[worst]) + self.residuals[worst])


def spectrum(
    landscape: Landscape,
    examples: Examples,
    count: int = 4,
    *,
    tolerance: float = 1e-4,
    seed: int = 0,
    matrix: Matrix = "hessian",
) -> Spectrum:
    """Find the eigenvalues at both ends of a loss's curvature at the base (implicitly restarted Lanczos).

    Args:
        landscape: The losses.
        examples: What the loss is averaged over.
        count: Number of eigenvalues, half from either end.
        tolerance: Relative accuracy asked of the eigenvalues.
        seed: Seed of the starting vector.
        matrix: Whose eigenvalues.

    Returns:
        The eigenvalues with their residuals.
    """
    landscape.check_deterministic(examples)
    return extremes(
        partial(landscape.products, examples, matrix=matrix),
        landscape.zeros(),
        count,
        tolerance=tolerance,
        seed=seed,
    )


def spectral_norm(products: Products, like: Tensor, *, tolerance: float = 1e-4, seed: int = 0) -> float:
    """Measure ‖A‖₂ of a symmetric matrix that is given by its products.

    Args:
        products: Multiplies row vectors by A. [K, P] → [K, P]
        like: A vector of the matrix's size, precision and device. [P]
        tolerance: Relative accuracy asked of the eigenvalue.
        seed: Seed of the starting vector.

    Returns:
        The largest |eigenvalue| plus its residual.
    """
    return extremes(products, like, 1, tolerance=tolerance, seed=seed).norm


def extremes(products: Products, like: Tensor, count: int, *, tolerance: float, seed: int) -> Spectrum:
    """Find eigenvalues of a symmetric matrix that is given by its products.

    Args:
        products: Multiplies row vectors by A. [K, P] → [K, P]
        like: A vector of the matrix's size, precision and device. [P]
        count: How many; 1: the one of largest magnitude; else half from either end.
        tolerance: Relative accuracy asked of the eigenvalues.
        seed: Seed of the starting vector.

    Returns:
        The eigenvalues with their residuals.

    Raises:
        InputError: If the matrix is too small for so many, or Lanczos does not converge.
    """
    size, used = like.numel(), 0
    if not 1 <= count < size:
        raise InputError(
            f"wanted {count} eigenvalues of a {size} × {size} Hessian; at most {size - 1} can be"
        )

    def multiply(vector: Floats) -> Floats:
        nonlocal used
        used += 1
        row = torch.from_numpy(np.ascontiguousarray(vector).reshape(1, -1)).to(like)
        return products(row)[0].double().cpu().numpy()

    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    if not multiply(start).any():
        return Spectrum(np.zeros(count), np.zeros(count), used)
    try:
        values, vectors = eigsh(
            operator, k=count, which="LM" if count == 1 else "BE", v0=start, tol=tolerance
        )
    except ArpackNoConvergence as error:
        raise InputError(f"Lanczos did not converge after {used} matrix-vector products") from error
    except ArpackError as error:
        raise InputError(f"Lanczos failed after {used} matrix-vector products: {error}") from error
    residuals = [np.linalg.norm(multiply(v) - mu * v) for mu, v in zip(values, vectors.T, strict=True)]
    order = np.argsort(values)
    return Spectrum(values[order], np.array(residuals)[order], used)
