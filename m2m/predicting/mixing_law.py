"""The log-linear mixing law: y = c ± exp(Σ t_i x_i)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m2m.predicting.robust_fit import lowest, robust_fit
from m2m.support.arrays import Floats

#: Where the asymptote c starts: this many ranges of the scores beyond their best and their worst value.
_STARTS = (0.05, 0.3, 1.0, 3.0)
#: exp() stays finite, and no mixture's prediction is more than e^8 spreads off.
_MOST = 8.0


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
        """Return c ± exp(Σ t_i x_i).

        Args:
            x: Mixture weights. [M, N]

        Returns:
            The expected scores. [M]
        """
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
        """Fit.

        Args:
            x: Mixture weights. [M, N]
            y: Scores. [M]
            seed: Not used: the starts are a fixed grid.

        Returns:
            The best law of all starts.
        """
        scale = float(y.std())
        z = (y - y.mean()) / scale
        starts = [(sign, start) for sign in (1.0, -1.0) for start in _STARTS]
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
