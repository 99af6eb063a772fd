"""Problems in which everything is known: quadratic losses, gradient descent on them, and a bounded score.

Each dataset's loss is a quadratic with its own Hessian and minimum; experts and mixtures are trained on it by
T steps of gradient descent, in closed form. The score of a model is −log(1 + its squared distance to the
target's place), so merged and trained scores differ for the reasons that the theory names, and for no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from m2m.support.arrays import Floats

#: Steps T and learning rates η (in units of 1/‖H‖) that problems are drawn from.
HORIZONS, RATES = (2, 5, 20, 80), (0.1, 0.5, 0.9)
#: How much of their Hessian the datasets share.
SHARED = (0.0, 0.5, 0.9)
#: Deviation of the logarithms of a Hessian's eigenvalues.
SPREADS = (1.2, 2.4)


@dataclass(frozen=True)
class Problem:
    """N datasets, every subset of them merged and trained.

    Attributes:
        shares: The mixtures λ, single datasets first. [M, N]
        experts: Task vectors. [N, P]
        trained: Displacements of the mixture-trained models. [M, P]
        curvature_covariance: C_λ = Σ_k λ_k (H_k − H̄)(g_k − ḡ) of every mixture. [M, P]
        coefficient: c = η²T(T−1)/2.
        score: Scores displacements [M, P], higher is better. [M]
    """

    shares: Floats
    experts: Floats
    trained: Floats
    curvature_covariance: Floats
    coefficient: float
    score: Callable[[Floats], Floats]

    @property
    def merged(self) -> Floats:
        """Displacements of the merged models. [M, P]."""
        return np.asarray(self.shares @ self.experts)

    @property
    def several(self) -> Floats:
        """Which mixtures have two datasets or more. bool [M]."""
        return np.asarray(np.sum(self.shares > 0, axis=1) > 1)


def subsets(count: int) -> Floats:
    """List all subsets of N datasets in equal parts, single datasets first. [2^N − 1, N]."""
    rows = [chosen for size in range(1, count + 1) for chosen in combinations(range(count), size)]
    shares = np.zeros((len(rows), count))
    for row, chosen in zip(shares, rows, strict=True):
        row[list(chosen)] = 1 / len(chosen)
    return shares


def draw(rng: np.random.Generator, datasets: int = 6, dimensions: int = 30) -> Problem:
    """Draw a problem: Hessians that share none, half or nine tenths, horizons from 2 to 80 steps."""
    steps, rate, shared, spread = (rng.choice(of) for of in (HORIZONS, RATES, SHARED, SPREADS))
    common, middle = hessian(rng, dimensions, spread), 0.5 * rng.normal(size=dimensions)
    hessians = np.stack(
        [_unit((1 - shared) * hessian(rng, dimensions, spread) + shared * common) for _ in range(datasets)]
    )
    minima = middle + rng.normal(size=(datasets, dimensions))
    gradients = -np.einsum("kij,kj->ki", hessians, minima)
    wanted = rng.dirichlet(np.full(datasets, 0.5)) @ minima + 0.3 * rng.normal(size=dimensions)
    metric = hessian(rng, dimensions, spread)

    shares = subsets(datasets)
    mixed, slopes = np.tensordot(shares, hessians, 1), shares @ gradients
    trained = np.stack([descended(h, g, rate, steps) for h, g in zip(mixed, slopes, strict=True)])
    bent = np.einsum("kij,kj->ki", hessians, gradients)
    return Problem(
        shares=shares,
        experts=trained[:datasets],
        trained=trained,
        curvature_covariance=shares @ bent - np.einsum("mij,mj->mi", mixed, slopes),
        coefficient=float(rate**2 * steps * (steps - 1) / 2),
        score=lambda x: -np.log1p(np.einsum("mi,ij,mj->m", x - wanted, metric, x - wanted)),
    )


def hessian(rng: np.random.Generator, dimensions: int, spread: float = SPREADS[0]) -> Floats:
    """Draw a Hessian whose eigenvalues' logarithms have a deviation. [P, P]."""
    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    return np.asarray((turn * np.exp(spread * rng.normal(size=dimensions))) @ turn.T)


def _unit(matrix: Floats) -> Floats:
    return np.asarray(matrix / np.linalg.norm(matrix, 2))


def descended(matrix: Floats, gradient: Floats, rate: float, steps: int) -> Floats:
    """Follow x ← x − η(g + Hx) from 0 for T steps: −H⁻¹(I − (I − ηH)^T) g."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(-vectors @ ((1 - (1 - rate * values) ** steps) / values * (vectors.T @ gradient)))
