"""What a run's losses say about its datasets: effects, distances, and what is not quadratic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats

#: Natural logs between which variances and the length are sought, around their first guesses.
LEAST, MOST = -6.0, 4.0


@dataclass(frozen=True)
class Bumps:
    """h(u) = Σ_m w_m exp(−|u − u_m|² / 2ℓ²).

    Attributes:
        centres: u_m. [M, D]
        heights: w, in the loss's unit. [M]
        length: ℓ.
    """

    centres: Floats
    heights: Floats
    length: float

    def at(self, places: Floats) -> Floats:
        """Evaluate: [K, D] to [K]."""
        inner = places @ self.centres.T
        apart = (places**2).sum(1)[:, None] - 2 * inner + (self.centres**2).sum(1)
        return np.asarray(np.exp(-apart / (2 * self.length**2)) @ self.heights)


@dataclass(frozen=True)
class Effects:
    """A loss over mixtures of N datasets, L(x) = c + gᵀu + |u|² + Σ r_i x_i + h(u) + ε, u = Σ x_i z_i.

    z_i is the place of dataset i's expert, u the merged model's; the metric is half the target's Hessian.

    Attributes:
        places: z, centred. [N, D]
        level: c, in the loss's unit.
        slope: g. [D]
        rest: r, in the loss's unit; 0 where the loss is convex in all directions. [N]
        beyond: h, what is smooth and not quadratic.
        noise: Standard deviation of ε, in the loss's unit.
        span: The range of the run's losses.
    """

    places: Floats
    level: float
    slope: Floats
    rest: Floats
    beyond: Bumps
    noise: float
    span: float


def trained_losses(run: Path, target: str) -> tuple[Floats, Floats]:
    """Read what a run's really trained mixtures lose, the first training seed of each.

    Args:
        run: The run folder.
        target: The target.

    Returns:
        The mixtures [M, N] and their losses [M].
    """
    with ScoreTable(run / "scores.sqlite") as table:
        rows = table.rows(origin="trained", task=target, split="validation", metric="loss")
    first = {row.candidate: row for row in reversed(rows)}  # rows are ordered by seed
    points = np.array([list(row.weights.values()) for row in first.values()])
    return points, np.array([row.value for row in first.values()])


@lru_cache
def effects_of(run: Path, target: str) -> Effects:
    """Fit the effects of a run's datasets on one target.

    Args:
        run: A run folder with every subset trained.
        target: The target.

    Returns:
        The effects.
    """
    return fitted(*trained_losses(run, target))


def fitted(points: Floats, losses: Floats) -> Effects:
    """Fit the quadratic by least squares, then split the rest into h and ε by maximum likelihood.

    Every quadratic on the simplex is Σ a_i x_i − Σ_{i<j} d_ij x_i x_j (Scheffé, 1958), with a the losses of
    single datasets and d, at the mean of experts, their squared distances. These are embedded by classical
    scaling (Torgerson, 1952); directions in which the loss is concave count as flat.

    Args:
        points: Mixtures, as many as the quadratic has coefficients, N(N + 1)/2, or more. [M, N]
        losses: Their losses. [M]

    Returns:
        The effects.
    """
    n = points.shape[1]
    first, second = np.triu_indices(n, 1)
    terms = np.hstack([points, points[:, first] * points[:, second]])
    coefficients = np.linalg.lstsq(terms, losses, rcond=None)[0]
    distances = np.zeros((n, n))
    distances[first, second] = -coefficients[n:]
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centring @ (distances + distances.T) @ centring / 2)
    places = vectors * np.sqrt(values.clip(0))
    # Σ a_i x_i − Σ d_ij x_i x_j = Σ (a_i − |z_i|²) x_i + |u|², and the bracket's part linear in z is a slope.
    bracket = coefficients[:n] - (places**2).sum(1)
    level, slope = float(bracket.mean()), np.linalg.lstsq(places, bracket - bracket.mean(), rcond=1e-6)[0]
    rest = bracket - level - places @ slope
    left = losses - terms @ coefficients
    return Effects(places, level, slope, rest, *_beyond(points @ places, left), float(np.ptp(losses)))


def _beyond(places: Floats, left: Floats) -> tuple[Bumps, float]:
    """Take what the quadratic leaves as a Gaussian process of the place plus noise; return both."""
    apart = ((places[:, None] - places[None]) ** 2).sum(-1)
    guess = np.log([left.std(), np.sqrt(apart[apart > 0].mean()), left.std()])

    def surprise(logs: Floats) -> float:
        root = np.linalg.cholesky(_covariance(apart, *np.exp(logs)))
        whitened = np.linalg.solve(root, left)
        return float(np.log(np.diag(root)).sum() + whitened @ whitened / 2)

    starts = [guess + np.log([1.0, length, noise]) for length in (0.3, 1.0) for noise in (0.1, 0.7)]
    bounds = [(g + LEAST, g + MOST) for g in guess]
    fits = [minimize(surprise, start, method="L-BFGS-B", bounds=bounds) for start in starts]
    height, length, noise = np.exp(min(fits, key=lambda fit: float(fit.fun)).x).tolist()
    heights = height**2 * np.linalg.solve(_covariance(apart, height, length, noise), left)
    return Bumps(places, heights, length), noise


def _covariance(apart: Floats, height: float, length: float, noise: float) -> Floats:
    return np.asarray(height**2 * np.exp(-apart / (2 * length**2)) + noise**2 * np.eye(len(apart)))
