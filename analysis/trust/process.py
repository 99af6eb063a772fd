"""The process that training is believed to follow: what it adds to merging, and nothing at single datasets.

In standard deviations of the merged scores, with mixture weights λ, q = 1 − Σ λ_k² (0 for a single dataset),
m the merged score and b = m − Σ λ_k m_k what it has beyond its members' mean, what training adds is Gaussian
with mean 0 and covariance

    q q′ [σ₀² + σ₁² m m′ + σ₂² exp(−‖λ − λ′‖² / 2ℓ²)] + σ₃² Σ_{k<j} 16 λ_kλ_jλ′_kλ′_j + σ₄² b b′.

The part with σ₃ is Scheffé's quadratic with independent coefficients, σ₃ the deviation at an equal pair. A
training's score lies s off its mixture's by chance; so does a single dataset's, whose merged model is one
training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotrf, dtrtrs
from scipy.special import ndtr

from analysis.trust.landscape import Landscape
from m2m.support.arrays import Floats

#: Lengths ℓ; mixtures of two datasets that share one are 0.71 apart.
LENGTHS = np.geomspace(0.14, 1.0, 8)
#: Prior medians of σ₀ … σ₄ and s, in standard deviations of the merged scores.
MEDIANS = np.array([0.8, 0.3, 0.8, 0.3, 0.3, 0.03])
#: Which of them is σ₂.
SMOOTH = 2
#: Prior standard deviation of their logarithms, of what all targets share and of a target's own factors on
#: all σ and on s.
SPREAD, OWN_SPREAD = 1.0, 0.5
#: How many standard normal numbers stand for what targets share, and for what is a target's own.
SHARED, OWN = len(MEDIANS) + 1, 2
#: Keeps a factor defined where mixtures are as good as equal; a hundred thousandth of a deviation.
_JITTER = 1e-10


@dataclass(frozen=True)
class Hyperparameters:
    """One draw of them, for one target.

    Attributes:
        sigmas: σ₀ … σ₄. [5]
        noise: s.
        length: Which of `LENGTHS`.
    """

    sigmas: Floats
    noise: float
    length: int

    @classmethod
    def at(cls, shared: Floats, own: Floats) -> Hyperparameters:
        """Turn standard normal numbers [`SHARED`] and [`OWN`] into a draw from the prior."""
        factors = np.exp(OWN_SPREAD * own)
        values = MEDIANS * np.exp(SPREAD * shared[:-1]) * np.append(np.full(5, factors[0]), factors[1])
        length = min(int(ndtr(shared[-1]) * len(LENGTHS)), len(LENGTHS) - 1)
        return cls(values[:-1], float(values[-1]), length)


class Process:
    """The process on one landscape.

    Args:
        landscape: The scores.
    """

    def __init__(self, landscape: Landscape) -> None:
        weights, unit = landscape.weights, landscape.unit
        self.landscape = landscape
        self.seen, gains = landscape.trainings
        self.gains = gains / unit
        q = 1 - np.sum(weights**2, axis=1)
        merged = (landscape.merged - np.mean(landscape.merged)) / unit
        beyond = merged - weights @ _of_singles(landscape, merged)
        beyond[~landscape.several] = 0
        self._parts = [q[:, None], (q * merged)[:, None], pair_features(weights), beyond[:, None]]
        self._luck = np.eye(len(q))[:, ~landscape.several]
        self._smooth = [q[:, None] * factor for factor in _smooth_factors(weights)]
        # What a training of a single dataset is off by, its expert was not.
        luck = _gram(self._luck[self.seen]) + np.eye(len(self.seen))
        fixed = [_gram(part[self.seen]) for part in self._parts]
        self._grams = [np.stack([*fixed, luck, _gram(part[self.seen])]) for part in self._smooth]

    def log_evidence(self, hyper: Hyperparameters) -> float:
        """Return the logarithm of the density of what the trainings added, up to a constant."""
        factor = self._factor(hyper)
        scaled, _ = dtrtrs(factor, self.gains, lower=1)
        return float(-0.5 * scaled @ scaled - np.log(np.diag(factor)).sum())

    def condition(
        self, hyper: Hyperparameters, count: int, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Return what training adds given the trainings: the mean [C] and draws of it [count, C].

        Draws from the prior are moved by what their own trainings miss of the real ones (Matheron's rule).
        """
        factors = list(self._factors(hyper))
        drawn = np.sum([rng.standard_normal((count, f.shape[1])) @ f.T for f in factors], axis=0)
        if not len(self.seen):
            return np.zeros(drawn.shape[1]), drawn
        across = np.sum([f @ f[self.seen].T for f in factors], axis=0)
        luck = hyper.noise * rng.standard_normal((count, len(self.seen)))
        missed = self.gains - np.vstack([np.zeros(len(self.seen)), drawn[:, self.seen] + luck])
        moved = across @ cho_solve((self._factor(hyper), True), missed.T)
        return moved[:, 0], drawn + moved[:, 1:].T

    def _factors(self, hyper: Hyperparameters) -> Iterator[Floats]:
        # The covariance is the sum of F Fᵀ.
        fixed = zip(np.delete(hyper.sigmas, SMOOTH), self._parts, strict=True)
        yield from (sigma * part for sigma, part in fixed)
        yield hyper.noise * self._luck
        yield hyper.sigmas[SMOOTH] * self._smooth[hyper.length]

    def _factor(self, hyper: Hyperparameters) -> Floats:
        """Return the Cholesky factor of the trainings' covariance. [T, T]."""
        scales = np.array([*np.delete(hyper.sigmas, SMOOTH), hyper.noise, hyper.sigmas[SMOOTH]])
        total = np.tensordot(scales**2, self._grams[hyper.length], 1)
        total[np.diag_indices(len(total))] += _JITTER
        factor: Floats = dpotrf(total, lower=1)[0]
        return factor


def pair_features(weights: Floats) -> Floats:
    """Return 4 λ_k λ_j of every pair of datasets, 1 at the equal pair: [C, N] to [C, N(N−1)/2]."""
    pairs = list(combinations(range(weights.shape[1]), 2))
    return np.stack([4 * weights[:, k] * weights[:, j] for k, j in pairs], axis=1)


def _of_singles(landscape: Landscape, scores: Floats) -> Floats:
    """Return the single datasets' scores, in the order of the datasets. [N]."""
    rows = {mixture.label: row for row, mixture in enumerate(landscape.mixtures)}
    return scores[[rows[name] for name in landscape.mixtures[0].datasets]]


def _smooth_factors(weights: Floats) -> Iterator[Floats]:
    squares = np.sum(weights**2, axis=1)
    squared = np.maximum(squares[:, None] + squares - 2 * weights @ weights.T, 0)
    for length in LENGTHS:
        correlation = np.exp(-squared / (2 * length**2))
        correlation[np.diag_indices(len(correlation))] = 1 + 1e-8  # nearly singular for large ℓ
        yield cholesky(correlation, lower=True)


def _gram(rows: Floats) -> Floats:
    return rows @ rows.T
