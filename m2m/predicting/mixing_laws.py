"""Parametric laws of mixing, fitted by least squares that outliers do not rule, from several starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m2m.errors import FitError
from m2m.support.arrays import Floats

#: Evaluations a start may take. Most have settled by then; the others are stopped early, which is no failure:
#: a fit is judged by rows that it has not seen, not by how flat its loss is.
MOST_EVALUATIONS = 60
#: Residual, in units of the noise, from which on a row counts as an outlier.
OUTLIER = 1.5
#: Where the log-linear law's asymptote c starts: so many ranges of the scores beyond their best value.
_ASYMPTOTES = (0.05, 0.3, 1.0, 3.0)
#: Largest exponent there: exp() stays finite, and no mixture's prediction is more than e^8 spreads off.
_MOST = 8.0
#: Parameters of a power law's term beside its N usefulnesses: a, log p, log g.
_OWN = 3
#: Prior means and standard deviations of a (in spreads of the scores), log p, log g and log t.
_MEAN = (0.0, -0.5, float(np.log(0.6)), 2.0)
_SPREAD = (2.0, 1.0, 0.4, 1.0)


def robust_fit(
    residuals: Callable[[Floats], Floats],
    jacobian: Callable[[Floats], Floats],
    start: Floats,
    *,
    scaled: bool = False,
) -> tuple[float, Floats]:
    """Minimise Σ ρ(residual²), ρ the soft L1 loss, from one start [P]; cost and parameters [P]."""
    # Residuals are [R] and their Jacobian [R, P]; `scaled`: by its columns. The cost is infinite where the
    # start leads to no finite numbers.
    from scipy.optimize import least_squares

    options = {"x_scale": "jac"} if scaled else {}
    try:
        # A trial step may overflow: scipy sees that it is not finite and takes a shorter one.
        with np.errstate(over="ignore", invalid="ignore"):
            found = least_squares(
                residuals,
                start,
                jac=jacobian,
                loss="soft_l1",
                f_scale=OUTLIER,
                max_nfev=MOST_EVALUATIONS,
                **options,
            )
    except (ValueError, np.linalg.LinAlgError):  # no finite number at the start, or no singular values
        return np.inf, start
    finite = np.isfinite(found.cost) and np.isfinite(found.x).all()
    return (float(found.cost), found.x) if finite else (np.inf, start)


def lowest(fits: list[tuple[float, Floats]]) -> int:
    """Number of the (cost, parameters) of least cost, the first of equals; FitError if none is finite."""
    costs = [cost for cost, _ in fits]
    if not np.isfinite(costs).any():
        raise FitError(f"none of its {len(fits)} starts leads to finite numbers")
    return int(np.argmin(costs))


@dataclass(frozen=True)
class MixingLaw:
    """A fitted law.

    Attributes:
        asymptote: c, in the score's unit.
        amplitude: ± the spread of the scores it was fitted to, in the score's unit.
        exponents: t, one a domain; on the simplex a common shift of them is the law's factor k. [N]
    """

    asymptote: float
    amplitude: float
    exponents: Floats

    def predict(self, x: Floats) -> Floats:
        """Scores [M] of mixtures [M, N]."""
        return self.asymptote + self.amplitude * np.exp(np.minimum(x @ self.exponents, _MOST))


@dataclass(frozen=True)
class LogLinear:
    """Fits the law by robust least squares from several starts.

    The form is Data Mixing Laws' L(r) = c + k·exp(Σ t_j r_j) (Ye et al. 2024, arXiv 2403.16952), which
    Olmix and DeMix use as well; k is a shift of all t_j, since Σ r_j = 1. The sign is free: scores of
    which more is better approach their asymptote from below.

    Attributes:
        noise: Residual, in standard deviations of the scores, beyond which a row counts as an outlier.
        spread: Standard deviation of the prior of each t_j around their mean.
    """

    noise: float = 0.1
    spread: float = 5.0

    def __call__(self, x: Floats, y: Floats, seed: int) -> MixingLaw:
        """Fit; the starts are a fixed grid, whatever the seed."""
        scale = float(y.std())
        z = (y - y.mean()) / scale
        starts = [(sign, start) for sign in (1.0, -1.0) for start in _ASYMPTOTES]
        fits = [self._from(x, z, sign, start) for sign, start in starts]
        best = lowest(fits)
        (sign, _), (c, *t) = starts[best], fits[best][1]
        return MixingLaw(float(y.mean()) + scale * sign * float(c), sign * scale, np.array(t))

    def _from(self, x: Floats, z: Floats, sign: float, start: float) -> tuple[float, Floats]:
        best = float((sign * z).min())
        c = best - start * float(np.ptp(z))
        height = np.log(sign * z - c)
        t = np.linalg.lstsq(x.T @ x + 1e-6 * np.eye(x.shape[1]), x.T @ height, rcond=None)[0]

        def residuals(p: Floats) -> Floats:
            law = np.exp(np.minimum(x @ p[1:], _MOST))
            return np.concatenate(
                [(p[0] + law - sign * z) / self.noise, (p[1:] - p[1:].mean()) / self.spread]
            )

        def jacobian(p: Floats) -> Floats:
            law = np.exp(np.minimum(x @ p[1:], _MOST))
            data = np.column_stack([np.ones(len(z)), law[:, None] * x]) / self.noise
            n = x.shape[1]
            prior = np.column_stack([np.zeros(n), np.eye(n) - 1 / n]) / self.spread
            return np.vstack([data, prior])

        return robust_fit(residuals, jacobian, np.r_[c, t], scaled=True)


@dataclass(frozen=True)
class PowerLaw:
    """A fitted sum of power laws.

    Attributes:
        centre: Mean of the scores it was fitted to, in the score's unit.
        scale: Their standard deviation.
        parameters: c, then a row (a, log p, log g, log t_1 … log t_N) a term, in units of `scale`.
            [1 + K·(3 + N)]
    """

    centre: float
    scale: float
    parameters: Floats

    def predict(self, x: Floats) -> Floats:
        """Scores [M] of mixtures [M, N]."""
        return self.centre + self.scale * _values(self.parameters, *_logs(x))


@dataclass(frozen=True)
class EffectiveData:
    """Fits the law by robust least squares with a weak prior.

    A domain's share x_i is worth t_i·x_i^g of the target's own data (effective data transferred falls off as
    a power of its amount: Hernandez et al. 2021, arXiv 2102.01293), and a score moves with a power of
    the total (Kaplan et al. 2020, arXiv 2001.08361, eq. 1.2). Zeros are real: nothing is worth nothing. Every
    term lies between 0 and a_k, so the law stays bounded far from what it was fitted to. Several terms, since
    a target is a blend of skills that different domains teach.

    Attributes:
        terms: K, the number of terms.
        noise: Residual, in standard deviations of the scores, that the law need not explain.
        signs: Signs of a that are tried as a start: +1 for scores that useful data lowers, −1 for the others.
    """

    terms: int = 1
    noise: float = 0.1
    signs: tuple[float, ...] = (1.0, -1.0)

    def __call__(self, x: Floats, y: Floats, seed: int) -> PowerLaw:
        """Fit; the seed decides where the terms start."""
        centre, scale = float(y.mean()), float(y.std())
        fits = [self._from(x, (y - centre) / scale, sign, seed) for sign in self.signs]
        return PowerLaw(centre, scale, fits[lowest(fits)][1])

    def _from(self, x: Floats, z: Floats, sign: float, seed: int) -> tuple[float, Floats]:
        mean, spread = (
            np.r_[first, np.tile(_expand(p, x), self.terms)] for first, p in ((0.0, _MEAN), (3.0, _SPREAD))
        )
        start = mean.copy()
        terms = start[1:].reshape(self.terms, -1)
        # Terms that start alike would stay alike.
        terms[:, _OWN:] += np.random.default_rng(seed).normal(size=terms[:, _OWN:].shape) * (self.terms > 1)
        terms[:, 0] = sign
        start[0] = -sign * self.terms * 0.3
        present, logs = _logs(x)

        def residuals(p: Floats) -> Floats:
            return np.concatenate([(_values(p, present, logs) - z) / self.noise, (p - mean) / spread])

        def jacobian(p: Floats) -> Floats:
            return np.vstack([_gradient(p, present, logs) / self.noise, np.diag(1 / spread)])

        return robust_fit(residuals, jacobian, start)


@dataclass(frozen=True)
class Mean:
    """Averages several fits: each finds another local optimum, and their errors partly cancel."""

    parts: Sequence[EffectiveData]

    def __call__(self, x: Floats, y: Floats, seed: int) -> MeanModel:
        """Fit every part."""
        return MeanModel([part(x, y, seed) for part in self.parts])


@dataclass(frozen=True)
class MeanModel:
    """The mean of several models."""

    models: Sequence[PowerLaw]

    def predict(self, x: Floats) -> Floats:
        """Scores [M] of mixtures [M, N]."""
        mean: Floats = np.mean([model.predict(x) for model in self.models], axis=0)
        return mean


def _expand(prior: tuple[float, float, float, float], x: Floats) -> Floats:
    return np.asarray([*prior[:_OWN], *[prior[_OWN]] * x.shape[1]])


def _logs(x: Floats) -> tuple[Floats, Floats]:
    """Where weights are positive, as 0 and 1, and their logarithms there, each [M, N]."""
    present = x > 0
    return present.astype(np.float64), np.log(np.where(present, x, 1.0))


def _values(p: Floats, present: Floats, logs: Floats) -> Floats:
    total = np.full(len(logs), p[0])
    for a, log_p, log_g, *log_t in p[1:].reshape(-1, _OWN + logs.shape[1]):
        effective = (present * np.exp(np.exp(log_g) * logs)) @ np.exp(log_t)
        total += a * (1 + effective) ** -np.exp(log_p)
    return total


def _gradient(p: Floats, present: Floats, logs: Floats) -> Floats:
    """Derivatives of `_values` by the parameters, [M, 1 + K·(3 + N)]."""
    columns = [np.ones((len(logs), 1))]
    for a, log_p, log_g, *log_t in p[1:].reshape(-1, _OWN + logs.shape[1]):
        power, exponent = np.exp(log_p), np.exp(log_g)
        worth = present * np.exp(exponent * logs) * np.exp(log_t)
        total = 1 + worth.sum(axis=1)
        value = total**-power
        slope = -a * power * value / total
        own = [value, -a * value * np.log(total) * power, slope * (worth * logs).sum(axis=1) * exponent]
        columns.append(np.column_stack([*own, slope[:, None] * worth]))
    return np.hstack(columns)
