"""What a search believes about its objective: Bayesian regression on the mixture and on its pairs.

The prior is a Gaussian process whose kernel is a sum of polynomial kernels of x = s/|S| (or of the simplex
point x), so that the belief's mean and every draw from it are explicit polynomials:

    k(x, y) = v₀ + v₁ xᵀy + v₂ |x|²|y|² + v₃ Σ x_n²y_n² + v₄ Σ_{i≠j} x_i x_j y_i y_j + v₅ (xᵀy)³ + σ² [x is y]

v₁ is how far experts differ in slope, v₂ their common curvature (|x|² = 1/|S|: how a mean shrinks), v₃
their own, v₄ that of pairs, v₅ what is not quadratic, σ² the noise; a score's own variance, where it is an
estimate, is added to σ². The seven variances maximise the evidence
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eqs. 5.8 and 5.9). Everything is done
in the dual, M × M, so that N = 100 datasets with their 5,050 coefficients cost no more than N = 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m2m.searching.polynomials import Cubic, Quadratic, QuadraticPrior, products
from m2m.support.arrays import Floats

#: Log of the variances before anything is known, in units of the scores' variance; the last is the noise's.
START = np.array([0.0, 0.0, -1.0, -1.0, -1.0, -4.0, -4.0])
#: Normal prior on the log variances, wide enough to matter only where the data are silent.
PRIOR_MEAN, PRIOR_DEVIATION = -3.0, 5.0
#: Bounds of the log variances; the noise's lower one keeps the kernel matrix invertible.
BOUNDS = [(-12.0, 6.0)] * 6 + [(-10.0, 2.0)]
#: Products a draw's cubic is made of.
PROJECTIONS = 128
#: Steps that the evidence's maximisation may take; it settles within 50.
MOST_STEPS = 200
#: A slope of the evidence, in nat for each unit of a log variance, that is as good as none.
SETTLED = 0.1


@dataclass(frozen=True)
class _Observed:
    """Evaluations in the units the regression works in.

    Attributes:
        points: Mixtures. [M, N]
        values: Standardised losses. [M]
        variances: Variances of the losses themselves, beside the noise, standardised likewise. [M]
        middle: What was subtracted, in the loss's unit.
        scale: What was divided by, in the loss's unit.
        kernels: The six kernel matrices, each with a mean diagonal of 1. [6, M, M]
        units: What each kernel was divided by for that. [6]
    """

    points: Floats
    values: Floats
    variances: Floats
    middle: float
    scale: float
    kernels: Floats
    units: Floats

    @classmethod
    def of(cls, points: Floats, losses: Floats, errors: Floats | None = None) -> _Observed:
        middle = float(np.median(losses))
        scale = float(np.std(losses)) or 1.0
        kernels = _kernels(points, points)
        units = np.trace(kernels, axis1=1, axis2=2) / len(points)
        units[units == 0] = 1  # corners of the simplex have no pairs
        values = (losses - middle) / scale
        variances = np.zeros(len(losses)) if errors is None else (errors / scale) ** 2
        return cls(points, values, variances, middle, scale, kernels / units[:, None, None], units)


class PolynomialPosterior:
    """The belief about an objective after M evaluations; lower is better.

    Args:
        points: The mixtures that were tried, distinct. [M, N]
        losses: Their losses. [M]
        log_variances: The seven log variances to use, or to start from. [7]
        errors: Standard errors of the losses, in their unit; None where they are exact. [M]
        prior: What is believed before the first evaluation; None: nothing. What is learnt is the difference.
        steps: Most steps in which to maximise the evidence over the log variances; 0 takes them as they are.

    Attributes:
        log_variances: The seven that are used. [7]
        notes: What is to be read with care because of them; empty if they were given.
    """

    def __init__(
        self,
        points: Floats,
        losses: Floats,
        log_variances: Floats | None = None,
        *,
        errors: Floats | None = None,
        prior: QuadraticPrior | None = None,
        steps: int = MOST_STEPS,
    ) -> None:
        self._expected = prior.landscape if prior else _nothing(points.shape[1])
        self._observed = _Observed.of(points, losses - self._expected.at(points), errors)
        start = START if log_variances is None else log_variances
        self.log_variances: Floats = start
        self.notes: tuple[str, ...] = ()
        if steps:
            self.log_variances, self.notes = _most_evident(self._observed, start, steps)
        self._variances = np.exp(self.log_variances[:6]) / self._observed.units
        self._noise = float(np.exp(self.log_variances[6]))
        self._scatter = self._noise + self._observed.variances
        self._inverse = np.linalg.inv(_covariance(self._observed, self.log_variances))
        self._dual = self._inverse @ self._observed.values

    def mean(self) -> Cubic:
        """The belief's mean, in the loss's unit."""
        return self._in_units(self._explained(self._dual))

    def draw(self, generator: np.random.Generator) -> Cubic:
        """Draw a landscape from the belief, in the loss's unit (Matheron's rule)."""
        prior, seen = self._prior_draw(generator), self._observed
        noise = np.sqrt(self._scatter) * generator.standard_normal(len(seen.points))
        missing = self._explained(self._inverse @ (seen.values - prior.at(seen.points) - noise))
        return self._in_units(prior + missing)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Means [K] at points [K, N] and their covariance [K, K], without the noise of an evaluation."""
        seen = self._observed
        cross = np.einsum("c,ckm->km", self._variances, _kernels(points, seen.points))
        prior = np.einsum("c,ckl->kl", self._variances, _kernels(points, points))
        mean = cross @ self._dual * seen.scale + seen.middle + self._expected.at(points)
        return mean, (prior - cross @ self._inverse @ cross.T) * seen.scale**2

    def predicted(self) -> Floats:
        """The belief's mean at the mixtures that were tried, in the loss's unit: [M]."""
        seen = self._observed
        learnt = (seen.values - self._scatter * self._dual) * seen.scale + seen.middle
        return np.asarray(learnt + self._expected.at(seen.points))

    @property
    def noise(self) -> float:
        """Standard deviation of an evaluation's noise, in the loss's unit."""
        return float(np.sqrt(self._noise) * self._observed.scale)

    def _explained(self, dual: Floats) -> Cubic:
        # What weights on the evaluations stand for: Σ_m dual_m k(·, x_m).
        points, v = self._observed.points, self._variances
        squares = points**2
        pairs = v[4] * (points * dual[:, None]).T @ points
        np.fill_diagonal(pairs, v[3] * dual @ squares + v[2] * dual @ squares.sum(1))
        quadratic = Quadratic(v[0] * dual.sum(), v[1] * dual @ points, pairs)
        return Cubic(quadratic, points, v[5] * dual)

    def _prior_draw(self, generator: np.random.Generator) -> Cubic:
        n, deviation = self._observed.points.shape[1], np.sqrt(self._variances)
        upper = np.triu(generator.standard_normal((n, n)), 1) * deviation[4] / np.sqrt(2)
        diagonal = deviation[3] * generator.standard_normal(n) + deviation[2] * generator.standard_normal()
        quadratic = Quadratic(
            deviation[0] * generator.standard_normal(),
            deviation[1] * generator.standard_normal(n),
            upper + upper.T + np.diag(diagonal),
        )
        # Products of three random projections have the covariance (xᵀy)³, and many of them are normal.
        weights = deviation[5] / np.sqrt(PROJECTIONS) * generator.standard_normal(PROJECTIONS)
        first, second, third = generator.standard_normal((3, PROJECTIONS, n))
        return Cubic(quadratic, *products(first, second, third, weights))

    def _in_units(self, landscape: Cubic) -> Cubic:
        scale, middle = self._observed.scale, self._observed.middle
        old = landscape.quadratic
        quadratic = Quadratic(old.constant * scale + middle, old.linear * scale, old.pairs * scale)
        return Cubic(quadratic, landscape.anchors, landscape.weights * scale) + self._expected


def _nothing(n: int) -> Cubic:
    return Cubic(Quadratic(0.0, np.zeros(n), np.zeros((n, n))), np.empty((0, n)), np.empty(0))


def _kernels(left: Floats, right: Floats) -> Floats:
    """The six kernels of the module's formula, without their variances: [6, K, M]."""
    inner = left @ right.T
    own = left**2 @ (right**2).T
    shrinking = np.outer((left**2).sum(1), (right**2).sum(1))
    return np.stack([np.ones_like(inner), inner, shrinking, own, inner * inner - own, inner * inner * inner])


def _covariance(observed: _Observed, log_variances: Floats) -> Floats:
    covariance = np.einsum("c,ckm->km", np.exp(log_variances[:6]), observed.kernels)
    covariance[np.diag_indices(len(covariance))] += np.exp(log_variances[6]) + observed.variances
    return np.asarray(covariance)


def _most_evident(observed: _Observed, start: Floats, steps: int) -> tuple[Floats, tuple[str, ...]]:
    """The log variances of the most evidence, and what is to be said of where they ended."""
    from scipy.optimize import minimize

    found = minimize(
        lambda log_variances: _surprise(observed, log_variances),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=BOUNDS,
        options={"maxiter": steps},
    )
    if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
        return start, ("the belief's variances could not be fitted: they are those it started from",)
    low, high = np.array(BOUNDS).T
    ends = np.asarray(found.x)
    # The slope that the bounds leave: where it is nothing, it does not matter why the optimiser stopped.
    left = np.abs(np.clip(ends - found.jac, low, high) - ends).max()
    said = []
    if left > SETTLED:
        said.append(f"the belief's variances had not settled after {found.nit} steps")
    if ends[6] <= low[6]:
        said.append("the noise is at the least that can be told from none")
    if (ends >= high).any():
        said.append("a variance of the belief is at its largest: the landscape is rougher than it can say")
    return ends, tuple(said)


def _surprise(observed: _Observed, log_variances: Floats) -> tuple[float, Floats]:
    """−log(evidence · prior) up to a constant, and its gradient [7]."""
    covariance = _covariance(observed, log_variances)
    inverse = np.linalg.inv(covariance)
    dual = inverse @ observed.values
    off = (log_variances - PRIOR_MEAN) / PRIOR_DEVIATION
    value = (observed.values @ dual + np.linalg.slogdet(covariance)[1] + off @ off) / 2
    slope = inverse - np.outer(dual, dual)
    traces = [*np.einsum("ckm,km->c", observed.kernels, slope), np.trace(slope)]
    return float(value), np.exp(log_variances) * traces / 2 + off / PRIOR_DEVIATION
