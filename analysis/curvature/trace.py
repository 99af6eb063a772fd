"""The trace of a loss's curvature from products alone: Hutchinson's estimate, and Hutch++."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from analysis.curvature.batch_products import Matrix
from analysis.curvature.landscape import Landscape, row_products
from analysis.curvature.spectrum import Products
from m2m.errors import InputError
from m2m.setups.protocol import Examples

#: Vectors that are multiplied at a time: they share a batch's graphs, and memory is so many vectors.
_ROWS = 8


@dataclass(frozen=True)
class Trace:
    """A stochastic estimate of a trace.

    Attributes:
        value: The estimate.
        standard_error: Its standard error; for Hutch++ that of the part that was not captured exactly.
        products: Matrix-vector products used.
    """

    value: float
    standard_error: float
    products: int


def trace(
    landscape: Landscape,
    examples: Examples,
    products: int = 16,
    *,
    seed: int = 0,
    matrix: Matrix = "hessian",
    sketched: bool = False,
) -> Trace:
    """Estimate the trace of a loss's curvature at the base.

    Args:
        landscape: The losses.
        examples: What the loss is averaged over.
        products: Matrix-vector products to spend, at least 2, or 6 for Hutch++.
        seed: Seed of the random signs.
        matrix: Whose trace.
        sketched: Whether to take Hutch++ instead of Hutchinson's estimate: better where few eigenvalues are
            large and none negative; holds as many vectors as products.

    Returns:
        The estimate.
    """
    landscape.check_deterministic(examples)
    multiply = partial(landscape.products, examples, matrix=matrix)
    estimate = hutch_plus_plus if sketched else hutchinson
    return estimate(multiply, landscape.zeros(), products, seed=seed)


def hutchinson(products: Products, like: Tensor, count: int, *, seed: int) -> Trace:
    """Average vᵀAv over random signs v (Hutchinson, Commun. Stat. Simul. 19, 1990).

    Unbiased; its variance is 2 Σ_{i≠j} A_ij² / count.

    Args:
        products: Multiplies row vectors by A. [K, P] → [K, P]
        like: A vector of the matrix's size, precision and device. [P]
        count: Vectors, at least 2.
        seed: Seed of the signs.

    Returns:
        The estimate.

    Raises:
        InputError: If `count` is below 2.
    """
    if count < 2:
        raise InputError(f"a trace with an error needs at least 2 products, got {count}")
    values = []
    for signs in torch.split(random_signs(count, like, seed), _ROWS):
        values += row_products(signs, products(signs)).tolist()
    return Trace(float(np.mean(values)), _standard_error(values), count)


def hutch_plus_plus(products: Products, like: Tensor, count: int, *, seed: int) -> Trace:
    """Take the trace on the span of A times random signs exactly, and Hutchinson's estimate of the rest.

    Meyer, Musco, Musco and Woodruff, SOSA 2021, algorithm 1: tr A = tr QᵀAQ + tr (I − QQᵀ)A(I − QQᵀ), Q an
    orthonormal basis of AS. A third of the products each makes AS, AQ, and the estimate of the rest.
    Unbiased; exact where the rank of A is at most a third of the products.

    Args:
        products: Multiplies row vectors by A. [K, P] → [K, P]
        like: A vector of the matrix's size, precision and device. [P]
        count: Products, at least 6; what 3 does not divide is left unused.
        seed: Seed of the signs.

    Returns:
        The estimate.

    Raises:
        InputError: If `count` is below 6.
    """
    third = min(count // 3, like.numel())
    if third < 2:
        raise InputError(f"Hutch++ with an error needs at least 6 products, got {count}")
    signs = random_signs(2 * third, like, seed)
    basis = torch.linalg.qr(_in_rows(products, signs[:third]).T)[0].T
    captured = row_products(basis, _in_rows(products, basis)).sum().item()
    rest = signs[third:] - signs[third:] @ basis.T @ basis
    values = row_products(rest, _in_rows(products, rest)).tolist()
    return Trace(captured + float(np.mean(values)), _standard_error(values), 3 * third)


def random_signs(count: int, like: Tensor, seed: int) -> Tensor:
    """Draw vectors of ±1; the first ones are the same whatever the count.

    Args:
        count: Number of vectors K.
        like: A vector of their size, precision and device. [P]
        seed: Seed of the draw.

    Returns:
        The vectors, as rows. [K, P]
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, 2, (1, like.numel()), generator=generator) for _ in range(count)]
    return torch.cat([(row * 2 - 1).to(like) for row in rows])


def _in_rows(products: Products, vectors: Tensor) -> Tensor:
    return torch.cat([products(rows) for rows in torch.split(vectors, _ROWS)])


def _standard_error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
