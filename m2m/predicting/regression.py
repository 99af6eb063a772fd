"""Linear models over features of a mixture: least squares, ridge, and sparse pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from m2m.errors import FitError
from m2m.support.arrays import Floats

#: Most products of weights that are held at once, of all mixtures fitted to: half a gigabyte, and fits take
#: several copies.
MOST_PRODUCTS = 2**26
#: Turns mixture weights [M, N] into features [M, F].
Features = Callable[[Floats], Floats]
#: Makes features from the mixtures that are fitted to, which may set a floor.
FeatureMap = Callable[[Floats], Features]
#: Ridge penalties that generalised cross-validation chooses from, in units of standardised features.
PENALTIES = np.logspace(-5, 4, 28)
#: Features that are made at once when predicting: 128 MiB.
_AT_ONCE = 2**24


@dataclass(frozen=True)
class Plain:
    """Weights as they are."""

    def __call__(self, weights: Floats) -> Floats:
        """Features [M, N] of mixtures [M, N]."""
        return weights


@dataclass(frozen=True)
class Roots:
    """√x."""

    def __call__(self, weights: Floats) -> Floats:
        """Features [M, N] of mixtures [M, N]."""
        return np.sqrt(weights)


@dataclass(frozen=True)
class WithLogarithms:
    """x and log(x + floor).

    Attributes:
        floor: What is added, above 0.
    """

    floor: float

    def __call__(self, weights: Floats) -> Floats:
        """Features [M, 2N] of mixtures [M, N]."""
        return np.hstack([weights, np.log(weights + self.floor)])


@dataclass(frozen=True)
class Products:
    """x_i and x_i·x_j (i < j)."""

    def __call__(self, weights: Floats) -> Floats:
        """Features [M, N(N + 1)/2] of mixtures [M, N]."""
        first, second = np.triu_indices(weights.shape[1], k=1)
        return np.hstack([weights, weights[:, first] * weights[:, second]])


def plain(x: Floats) -> Features:
    """Weights as they are, N a mixture: what a mean of experts depends on, to first order."""
    return Plain()


def roots(x: Floats) -> Features:
    """√x, N a mixture: spreads small weights without a floor, so that zeros stay zeros."""
    return Roots()


def with_logarithms(x: Floats) -> Features:
    """Weights and log(x + floor), 2N a mixture, the floor being half the smallest positive weight of `x`."""
    # Where zeros are real, log x alone is not defined; half the smallest weight is what a table that was
    # rounded to that weight cannot tell from zero.
    return WithLogarithms(float(x[x > 0].min()) / 2)


def with_products(x: Floats) -> Features:
    """x_i and x_i·x_j (i < j), N(N + 1)/2 in all: every quadratic on the simplex once (Scheffé 1958)."""
    rows, count = x.shape[0], x.shape[1] * (x.shape[1] + 1) // 2
    if rows * count > MOST_PRODUCTS:
        raise FitError(f"{count} products each are {rows * count} numbers, it takes at most {MOST_PRODUCTS}")
    return Products()


@dataclass(frozen=True)
class Standardised:
    """A regression over standardised features.

    Attributes:
        features: Mixture weights to features.
        centre: Mean of each feature where it was fitted. [F]
        scale: Standard deviation of each, 1 where a feature never changes. [F]
        coefficients: One a standardised feature. [F]
        intercept: The score where all of these are 0.
    """

    features: Features
    centre: Floats
    scale: Floats
    coefficients: Floats
    intercept: float

    def predict(self, x: Floats) -> Floats:
        """Scores [M] of mixtures [M, N]."""
        rows = max(1, _AT_ONCE // len(self.centre))
        parts = [self._predict(x[start : start + rows]) for start in range(0, max(len(x), 1), rows)]
        return np.concatenate(parts)

    def _predict(self, x: Floats) -> Floats:
        scores: Floats = (self.features(x) - self.centre) / self.scale @ self.coefficients + self.intercept
        return scores


@dataclass(frozen=True)
class LeastSquares:
    """y = b + Σ w_i x_i without a penalty; the shortest of several solutions."""

    def __call__(self, x: Floats, y: Floats, seed: int) -> Standardised:
        """Fit."""
        from sklearn.linear_model import LinearRegression

        return _standardised(plain, x, y, LinearRegression())


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on features; the penalty has the least generalised cross-validation error."""

    features: FeatureMap

    def __call__(self, x: Floats, y: Floats, seed: int) -> Standardised:
        """Fit."""
        from sklearn.linear_model import RidgeCV

        return _standardised(self.features, x, y, RidgeCV(alphas=PENALTIES))


@dataclass(frozen=True)
class SparsePairs:
    """Quadratic pseudo-Boolean function of the averaged subset with few pairs (the lasso over products)."""

    def __call__(self, x: Floats, y: Floats, seed: int) -> Standardised:
        """Fit; the seed decides the lasso's cross-validation folds."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LassoCV
        from sklearn.model_selection import KFold

        folds = KFold(min(4, len(y)), shuffle=True, random_state=seed)
        # Three digits of the optimum are more than cross-validation can tell apart.
        lasso = LassoCV(alphas=20, eps=1e-3, cv=folds, tol=1e-3, max_iter=1000)
        with warnings.catch_warnings():
            # The smallest penalties of the path need not converge: each is judged by rows it has not seen.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return _standardised(with_products, x, y, lasso)


def centre_and_scale(features: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature, 1 where one never changes: [M, F] to [F] each."""
    spread = features.std(axis=0)
    return features.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)


def _standardised(features: FeatureMap, x: Floats, y: Floats, regression: Any) -> Standardised:
    made = features(x)
    raw = made(x)
    centre, scale = centre_and_scale(raw)
    fitted = regression.fit((raw - centre) / scale, y)
    coefficients = np.array(fitted.coef_, dtype=np.float64)
    return Standardised(made, centre, scale, coefficients, float(fitted.intercept_))
