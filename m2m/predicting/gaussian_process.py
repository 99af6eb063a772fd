"""Gaussian process with a length scale a domain, a linear trend and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from m2m.errors import FitError
from m2m.predicting.regression import FeatureMap, Features, centre_and_scale
from m2m.support.arrays import Floats

#: Hyperparameters, all logarithms: N length scales, then the variances of the smooth part, noise and trend.
_LENGTH, _SMOOTH, _NOISE, _TREND = (-3.0, 8.0), (-4.0, 6.0), (-14.0, 1.0), (-12.0, 3.0)
#: Added to the diagonal so that repeated mixtures do not make the covariance singular.
_JITTER = 1e-8
#: What hyperparameters cost whose covariance is not positive definite to rounding.
_BROKEN = 1e10


@dataclass(frozen=True)
class GaussianModel:
    """A fitted process.

    Attributes:
        features: Mixture weights to features.
        points: Standardised features of the mixtures it was fitted to. [M, F]
        centre: Mean of each feature there. [F]
        scale: Standard deviation of each, 1 where a feature never changes. [F]
        offset: Mean of the scores.
        unit: Standard deviation of the scores.
        hyper: The hyperparameters. [F + 3]
        dual: Covariance⁻¹ times the standardised scores. [M]
    """

    features: Features
    points: Floats
    centre: Floats
    scale: Floats
    offset: float
    unit: float
    hyper: Floats
    dual: Floats

    @cached_property
    def factor(self) -> Any:
        """The Cholesky factor of the covariance, as scipy returns it; made when it is first asked for."""
        from scipy.linalg import cho_factor

        posterior = _Posterior(self.points, self.dual, self.hyper)
        return cho_factor(posterior.covariance(self.hyper), lower=True)

    def predict(self, x: Floats) -> Floats:
        """Posterior means [M] at mixtures [M, N] (Rasmussen & Williams 2006, eq. 2.25)."""
        mean: Floats = self.offset + self.unit * (self._across(x) @ self.dual)
        return mean

    def std(self, x: Floats) -> Floats:
        """Posterior standard deviations [M] of the noise-free score (Rasmussen & Williams, eq. 2.26)."""
        from scipy.linalg import cho_solve

        across = self._across(x)
        points = self._scaled(x)
        own = np.exp(self.hyper[-3]) + np.exp(self.hyper[-1]) * (1 + (points**2).sum(axis=1))
        explained = (across * cho_solve(self.factor, across.T).T).sum(axis=1)
        std: Floats = self.unit * np.sqrt(np.maximum(own - explained, 0.0))
        return std

    def _scaled(self, x: Floats) -> Floats:
        scaled: Floats = (self.features(x) - self.centre) / self.scale
        return scaled

    def _across(self, x: Floats) -> Floats:
        points = self._scaled(x)
        smooth, slope = (np.empty((len(points), len(self.points))) for _ in range(2))
        _matern(points, self.points, self.hyper, smooth, slope)
        across: Floats = smooth + np.exp(self.hyper[-1]) * (points @ self.points.T + 1)
        return across


@dataclass(frozen=True)
class GaussianProcess:
    """Fits hyperparameters by maximum marginal likelihood with a weak prior.

    Kernel: Matérn 5/2 with one length scale a feature, plus a linear kernel. scikit-learn's process computes
    an [M, M, N] array for each gradient; here the gradient by the length scales is two matrix products, which
    makes a fit of 512 mixtures of 17 domains some ten times faster.

    Attributes:
        features: What the mixture looks like to it.
        steps: Most steps of the optimiser.
    """

    features: FeatureMap
    steps: int = 40

    def __call__(self, x: Floats, y: Floats, seed: int) -> GaussianModel:
        """Fit; the optimiser starts where the prior is, whatever the seed."""
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        made = self.features(x)
        raw = made(x)
        centre, scale = centre_and_scale(raw)
        points, offset, unit = np.ascontiguousarray((raw - centre) / scale), float(y.mean()), float(y.std())
        z = (y - offset) / unit
        n = points.shape[1]
        prior = np.r_[np.full(n, 0.5 * np.log(n) + 0.5), 0.0, -5.0, -3.0]
        posterior = _Posterior(points, z, prior)
        found = minimize(
            posterior,
            prior,
            jac=True,
            method="L-BFGS-B",
            bounds=[_LENGTH] * n + [_SMOOTH, _NOISE, _TREND],
            options={"maxiter": self.steps},
        )
        # Whether the optimiser was done after its steps, or at a bound, decides nothing: any hyperparameters
        # make a process, and how well it predicts is measured on rows that it has not seen.
        if not found.fun < _BROKEN:
            raise FitError("its covariance matrix is not positive definite")
        factor = cho_factor(posterior.covariance(found.x), lower=True)
        dual = cho_solve(factor, z)
        return GaussianModel(made, points, centre, scale, offset, unit, found.x, dual)


def _matern(left: Floats, right: Floats, hyper: Floats, smooth: Floats, slope: Floats) -> None:
    """Write smooth covariances and their derivatives by the squared scaled distance, each [M, M']."""
    # In place: matrices of megabytes that come and go cost more than the arithmetic.
    lengths = np.exp(hyper[:-3])
    a, b = left / lengths, right / lengths
    root = np.add.outer((a**2).sum(axis=1), (b**2).sum(axis=1))
    root -= np.matmul(2 * a, b.T, out=slope)
    np.maximum(root, 0.0, out=root)
    root *= 5
    np.sqrt(root, out=root)
    decay = np.subtract(hyper[-3], root)
    np.exp(decay, out=decay)
    np.add(root, 1, out=slope)
    np.square(root, out=root)
    root /= 3
    np.add(slope, root, out=smooth)
    smooth *= decay
    slope *= -5 / 6
    slope *= decay


class _Posterior:
    """Negative log posterior of the hyperparameters and its gradient (R&W eq. 5.8, 5.9).

    Its matrices [M, M] are made once and written over by every call.
    """

    def __init__(self, points: Floats, z: Floats, prior: Floats) -> None:
        self._points, self._z, self._prior = points, z, prior
        # Length scales within a factor of e² of the prior, noise within e³ of it.
        self._width = np.r_[np.full(len(prior) - 3, 2.0), np.inf, 3.0, np.inf]
        self._linear = points @ points.T + 1
        self._smooth, self._slope, self._total, self._room = (np.empty_like(self._linear) for _ in range(4))

    def covariance(self, hyper: Floats) -> Floats:
        """Covariance of the scores [M, M]; its smooth part and that part's derivative are kept."""
        _matern(self._points, self._points, hyper, self._smooth, self._slope)
        np.multiply(self._linear, np.exp(hyper[-1]), out=self._total)
        self._total += self._smooth
        np.einsum("ii->i", self._total)[:] += np.exp(hyper[-2]) + _JITTER
        return self._total

    def __call__(self, hyper: Floats) -> tuple[float, Floats]:
        """Value and gradient."""
        from scipy.linalg.lapack import dpotrf, dpotri

        away = (hyper - self._prior) / self._width
        # What is symmetric is its own transpose, which is how these functions want it, and write over it.
        factor, failed = dpotrf(self.covariance(hyper).T, lower=1, clean=1, overwrite_a=1)
        if failed:
            return _BROKEN, np.zeros_like(hyper)
        logs = np.log(np.diag(factor)).sum()
        half, _ = dpotri(factor, lower=1, overwrite_c=1)
        inverse = np.add(half, half.T, out=self._room)
        np.einsum("ii->i", inverse)[:] = np.diag(half)
        dual = inverse @ self._z
        value = self._z @ dual / 2 + logs + (away**2).sum() / 2
        inverse -= np.outer(dual, dual, out=self._total)
        inverse /= 2
        return float(value), self._gradient(hyper, inverse) + away / self._width

    def _gradient(self, hyper: Floats, weight: Floats) -> Floats:
        # ∂/∂log ℓ_d of Σ_ij G_ij·D_ij with D the squared scaled distance: two products.
        pull, scaled = np.multiply(weight, self._slope, out=self._slope), self._points / np.exp(hyper[:-3])
        distances = 2 * ((scaled**2).T @ pull.sum(axis=1) - (scaled * (pull @ scaled)).sum(axis=0))
        smooth = np.multiply(weight, self._smooth, out=self._total).sum()
        linear = np.multiply(weight, self._linear, out=self._total).sum()
        own = [smooth, np.exp(hyper[-2]) * np.trace(weight), np.exp(hyper[-1]) * linear]
        gradient: Floats = np.r_[-2 * distances, own]
        return gradient
