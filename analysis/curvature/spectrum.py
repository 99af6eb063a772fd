"""The spectrum of a loss's curvature from products alone: its ends, its trace, its density."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from analysis.curvature.loss_surface import LossSurface, norms, row_products
from analysis.curvature.products import Matrix
from m2m.errors import InputError
from m2m.setups.protocol import Examples
from m2m.support.arrays import Floats

#: Multiplies row vectors by a symmetric matrix. [K, P] → [K, P]
Products = Callable[[Tensor], Tensor]
#: Vectors that are multiplied at a time: they share a batch's graphs, and memory is so many vectors.
_ROWS = 8


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
    surface: LossSurface,
    examples: Examples,
    count: int = 4,
    *,
    tolerance: float = 1e-4,
    seed: int = 0,
    matrix: Matrix = "hessian",
) -> Spectrum:
    """Find the eigenvalues at both ends of a loss's curvature at the base (implicitly restarted Lanczos).

    Args:
        surface: The losses.
        examples: What the loss is averaged over.
        count: Number of eigenvalues, half from either end.
        tolerance: Relative accuracy asked of the eigenvalues.
        seed: Seed of the starting vector.
        matrix: Whose eigenvalues.

    Returns:
        The eigenvalues with their residuals.
    """
    surface.check_deterministic(examples)
    return extremes(
        partial(surface.products, examples, matrix=matrix),
        surface.zeros(),
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
    """Find eigenvalues of a symmetric matrix A from its products [K, P] → [K, P]."""
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
    surface: LossSurface,
    examples: Examples,
    products: int = 16,
    *,
    seed: int = 0,
    matrix: Matrix = "hessian",
    sketched: bool = False,
) -> Trace:
    """Estimate the trace of a loss's curvature at the base.

    Args:
        surface: The losses.
        examples: What the loss is averaged over.
        products: Matrix-vector products to spend, at least 2, or 6 for Hutch++.
        seed: Seed of the random signs.
        matrix: Whose trace.
        sketched: Whether to take Hutch++ instead of Hutchinson's estimate: better where few eigenvalues are
            large and none negative; holds as many vectors as products.

    Returns:
        The estimate.
    """
    surface.check_deterministic(examples)
    multiply = partial(surface.products, examples, matrix=matrix)
    estimate = hutch_plus_plus if sketched else hutchinson
    return estimate(multiply, surface.zeros(), products, seed=seed)


def hutchinson(products: Products, like: Tensor, count: int, *, seed: int) -> Trace:
    """Average vᵀAv over at least 2 random signs v (Hutchinson, Commun. Stat. Simul. 19, 1990)."""
    # Unbiased; its variance is 2 Σ_{i≠j} A_ij² / count.
    if count < 2:
        raise InputError(f"a trace with an error needs at least 2 products, got {count}")
    values = []
    for signs in torch.split(random_signs(count, like, seed), _ROWS):
        values += row_products(signs, products(signs)).tolist()
    return Trace(float(np.mean(values)), _standard_error(values), count)


def hutch_plus_plus(products: Products, like: Tensor, count: int, *, seed: int) -> Trace:
    """Take the trace on the span of A times random signs exactly, and Hutchinson's estimate of the rest."""
    # Meyer, Musco, Musco and Woodruff, SOSA 2021, algorithm 1: tr A = tr QᵀAQ + tr (I − QQᵀ)A(I − QQᵀ), Q an
    # orthonormal basis of AS. A third of the products each makes AS, AQ, and the estimate of the rest; what 3
    # does not divide is left unused. Unbiased; exact where the rank of A is at most a third of the products.
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
    """Draw vectors of ±1 as rows; the first ones are the same whatever the count. [K, P]."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, 2, (1, like.numel()), generator=generator) for _ in range(count)]
    return torch.cat([(row * 2 - 1).to(like) for row in rows])


def _in_rows(products: Products, vectors: Tensor) -> Tensor:
    return torch.cat([products(rows) for rows in torch.split(vectors, _ROWS)])


def _standard_error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


@dataclass(frozen=True)
class Density:
    """Where the eigenvalues of a symmetric matrix lie: a weighted sum of points, an estimate a random probe.

    Attributes:
        nodes: Where the weights sit. [K]
        weights: Shares of all eigenvalues; each probe's add up to 1. [K]
        probe: Number of the probe a node belongs to. [K]
        size: Number P of eigenvalues.
        products: Matrix-vector products it took.
    """

    nodes: Floats
    weights: Floats
    probe: NDArray[np.int64]
    size: int
    products: int

    @property
    def probes(self) -> int:
        """Number of probes."""
        return int(self.probe[-1]) + 1

    @property
    def resolution(self) -> float:
        """How far a probe's points can lie from the spectral measure they stand for, in Wasserstein distance.

        π(b − a)/(4m) for m points on [a, b]: Gauss quadrature is exact for polynomials of degree 2m − 1, and
        those approximate a function of slope 1 to π(b − a)/(8m) (Jackson's theorem). The ends of the spectrum
        are taken from the points. A density should show no finer detail than this.
        """
        fewest = int(np.bincount(self.probe).min())
        return math.pi * float(np.ptp(self.nodes)) / (4 * fewest)

    def share(self, low: float, high: float) -> tuple[float, float]:
        """Estimate the share of eigenvalues in [low, high], and its standard error (NaN for one probe)."""
        inside = np.where((self.nodes >= low) & (self.nodes <= high), self.weights, 0.0)
        return self._over_probes(inside)

    def mean(self) -> tuple[float, float]:
        """Estimate the mean eigenvalue, the trace over P, and its standard error (NaN for one probe)."""
        return self._over_probes(self.weights * self.nodes)

    def smoothed(self, at: ArrayLike, width: float) -> Floats:
        """Draw the share of eigenvalues a unit, every node a normal distribution of this width. [G]."""
        z = (np.asarray(at, dtype=np.float64)[:, None] - self.nodes) / width
        bells = np.exp(-(z**2) / 2) / (width * math.sqrt(2 * math.pi))
        return np.asarray(bells @ self.weights / self.probes)

    def _over_probes(self, parts: Floats) -> tuple[float, float]:
        each = np.bincount(self.probe, weights=parts)
        error = float(np.std(each, ddof=1) / math.sqrt(len(each))) if len(each) > 1 else math.nan
        return float(each.mean()), error


def density(
    surface: LossSurface,
    examples: Examples,
    steps: int = 32,
    probes: int = 4,
    *,
    seed: int = 0,
    matrix: Matrix = "hessian",
) -> Density:
    """Estimate the spectral density of a loss's curvature at the base.

    Holds steps × probes vectors of P numbers.

    Args:
        surface: The losses.
        examples: What the loss is averaged over.
        steps: Lanczos steps m a probe: the resolution is the spectrum's width over about 1.3 m.
        probes: Random vectors.
        seed: Seed of their signs.
        matrix: Whose density.

    Returns:
        The density.
    """
    surface.check_deterministic(examples)
    multiply = partial(surface.products, examples, matrix=matrix)
    return lanczos_quadrature(multiply, surface.zeros(), steps, probes, seed=seed)


def lanczos_quadrature(products: Products, like: Tensor, steps: int, probes: int, *, seed: int) -> Density:
    """Give every random vector v the Gauss quadrature of its spectral measure Σ_i (u_iᵀv)² δ(μ_i)."""
    # Golub and Welsch (Math. Comp. 23, 1969); Lin, Saad and Yang (SIAM Review 58, 2016). Averaged over random
    # signs the measure is the density. All probes advance together, so that they share a batch's graphs.
    if steps < 1 or probes < 1:
        raise InputError(f"a density needs at least 1 step and 1 probe, got {steps} and {probes}")
    starts = random_signs(probes, like, seed)
    diagonals, off_diagonals = _lanczos(products, starts, min(steps, like.numel()))
    nodes, weights, number = [], [], []
    for k in range(probes):
        length = _length(diagonals[k], off_diagonals[k], torch.finfo(like.dtype).eps)
        values, vectors = eigh_tridiagonal(diagonals[k, :length], off_diagonals[k, : length - 1])
        nodes.append(values)
        weights.append(vectors[0] ** 2)
        number.append(np.full(length, k))
    return Density(
        np.concatenate(nodes),
        np.concatenate(weights),
        np.concatenate(number),
        like.numel(),
        products=len(diagonals[0]) * probes,
    )


def _lanczos(products: Products, starts: Tensor, steps: int) -> tuple[Floats, Floats]:
    """Return the tridiagonal matrices of all probes: diagonals [K, m], off-diagonals [K, m]."""
    basis = [_unit(starts, norms(starts))]
    diagonals, off_diagonals = [], []
    for _ in range(steps):
        bent = products(basis[-1])
        diagonals.append(row_products(bent, basis[-1]))
        # Twice is enough to stay orthogonal to rounding (Giraud, Langou, Rozložník and van den Eshof, 2005).
        for _ in range(2):
            for vectors in basis:
                bent -= row_products(bent, vectors).to(bent)[:, None] * vectors
        off_diagonals.append(norms(bent))
        basis.append(_unit(bent, off_diagonals[-1]))
    return torch.stack(diagonals, 1).numpy(), torch.stack(off_diagonals, 1).numpy()


def _length(diagonal: Floats, off_diagonal: Floats, unit: float) -> int:
    # Where the Krylov space is exhausted, only rounding follows. Cutting at an off-diagonal b moves no
    # eigenvalue by more than b (Weyl).
    scale = max(np.abs(diagonal).max(), off_diagonal.max())
    exhausted = np.flatnonzero(off_diagonal <= math.sqrt(unit) * scale)
    return int(exhausted[0]) + 1 if len(exhausted) else len(diagonal)


def _unit(rows: Tensor, lengths: Tensor) -> Tensor:
    scale = torch.where(lengths > 0, 1 / lengths, 0.0)
    return rows * scale.to(rows)[:, None]
