"""Power laws in effective data: y = c + Σ_k a_k (1 + Σ_i t_ki x_i^g_k)^(−p_k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m2m.predicting.robust_fit import lowest, robust_fit
from m2m.support.arrays import Floats

#: Parameters of a term beside its N usefulnesses: a, log p, log g.
_OWN = 3
#: Prior means and standard deviations of a (in spreads of the scores), log p, log g and log t.
_MEAN = (0.0, -0.5, float(np.log(0.6)), 2.0)
_SPREAD = (2.0, 1.0, 0.4, 1.0)


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
        """Return the law's values.

        Args:
            x: Mixture weights. [M, N]

        Returns:
            The expected scores. [M]
        """
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
        """Fit.

        Args:
            x: Mixture weights. [M, N]
            y: Scores. [M]
            seed: Decides where the terms start.

        Returns:
            The better law of the starts.
        """
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
    """Averages several fits: each finds another local optimum, and their errors partly cancel.

    Attributes:
        parts: What is fitted and averaged.
    """

    parts: Sequence[EffectiveData]

    def __call__(self, x: Floats, y: Floats, seed: int) -> MeanModel:
        """Fit every part.

        Args:
            x: Mixture weights. [M, N]
            y: Scores. [M]
            seed: Decides all random choices.

        Returns:
            The mean model.
        """
        return MeanModel([part(x, y, seed) for part in self.parts])


@dataclass(frozen=True)
class MeanModel:
    """The mean of several models.

    Attributes:
        models: The models.
    """

    models: Sequence[PowerLaw]

    def predict(self, x: Floats) -> Floats:
        """Return the mean of the models' predictions.

        Args:
            x: Mixture weights. [M, N]

        Returns:
            The expected scores. [M]
        """
        mean: Floats = np.mean([model.predict(x) for model in self.models], axis=0)
        return mean


def _expand(prior: tuple[float, float, float, float], x: Floats) -> Floats:
    return np.asarray([*prior[:_OWN], *[prior[_OWN]] * x.shape[1]])


def _logs(x: Floats) -> tuple[Floats, Floats]:
    """Return where weights are positive, as 0 and 1, and their logarithms there, each [M, N]."""
    present = x > 0
    return present.astype(np.float64), np.log(np.where(present, x, 1.0))


def _values(p: Floats, present: Floats, logs: Floats) -> Floats:
    total = np.full(len(logs), p[0])
    for a, log_p, log_g, *log_t in p[1:].reshape(-1, _OWN + logs.shape[1]):
        effective = (present * np.exp(np.exp(log_g) * logs)) @ np.exp(log_t)
        total += a * (1 + effective) ** -np.exp(log_p)
    return total


def _gradient(p: Floats, present: Floats, logs: Floats) -> Floats:
    """Return the derivatives of `_values` by the parameters, [M, 1 + K·(3 + N)]."""
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
