"""The whole spectrum as a density, by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from analysis.curvature.batch_products import Matrix
from analysis.curvature.landscape import Landscape, norms, row_products
from analysis.curvature.spectrum import Products
from analysis.curvature.trace import random_signs
from m2m.errors import InputError
from m2m.setups.protocol import Examples
from m2m.support.arrays import Floats


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
        """Estimate which share of all eigenvalues lies in [low, high].

        Args:
            low: Lower end.
            high: Upper end.

        Returns:
            The share, and its standard error over the probes (NaN for one).
        """
        inside = np.where((self.nodes >= low) & (self.nodes <= high), self.weights, 0.0)
        return self._over_probes(inside)

    def mean(self) -> tuple[float, float]:
        """Estimate the mean eigenvalue: the trace over P.

        Returns:
            The mean, and its standard error over the probes (NaN for one).
        """
        return self._over_probes(self.weights * self.nodes)

    def smoothed(self, at: ArrayLike, width: float) -> Floats:
        """Draw the density: every point becomes a normal distribution.

        Args:
            at: Where it is wanted. [G]
            width: Standard deviation of the normal distributions, above 0.

        Returns:
            Share of eigenvalues a unit. [G]
        """
        z = (np.asarray(at, dtype=np.float64)[:, None] - self.nodes) / width
        bells = np.exp(-(z**2) / 2) / (width * math.sqrt(2 * math.pi))
        return np.asarray(bells @ self.weights / self.probes)

    def _over_probes(self, parts: Floats) -> tuple[float, float]:
        each = np.bincount(self.probe, weights=parts)
        error = float(np.std(each, ddof=1) / math.sqrt(len(each))) if len(each) > 1 else math.nan
        return float(each.mean()), error


def density(
    landscape: Landscape,
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
        landscape: The losses.
        examples: What the loss is averaged over.
        steps: Lanczos steps m a probe: the resolution is the spectrum's width over about 1.3 m.
        probes: Random vectors.
        seed: Seed of their signs.
        matrix: Whose density.

    Returns:
        The density.
    """
    landscape.check_deterministic(examples)
    multiply = partial(landscape.products, examples, matrix=matrix)
    return lanczos_quadrature(multiply, landscape.zeros(), steps, probes, seed=seed)


def lanczos_quadrature(products: Products, like: Tensor, steps: int, probes: int, *, seed: int) -> Density:
    """Give every random vector v the Gauss quadrature of its spectral measure Σ_i (u_iᵀv)² δ(μ_i).

    Golub and Welsch (Math. Comp. 23, 1969); Lin, Saad and Yang (SIAM Review 58, 2016). Averaged over random
    signs the measure is the density. All probes advance together, so that they share a batch's graphs.

    Args:
        products: Multiplies row vectors by a symmetric matrix A. [K, P] → [K, P]
        like: A vector of the matrix's size, precision and device. [P]
        steps: Lanczos steps a probe.
        probes: Number of probes K.
        seed: Seed of the signs.

    Returns:
        The density.

    Raises:
        InputError: If `steps` or `probes` is below 1.
    """
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
