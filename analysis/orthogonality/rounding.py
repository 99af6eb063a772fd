"""What rounding to the stored type does to norms and cosines, and what they are without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.orthogonality.geometry import Geometry, cosines, divide
from m2m.support.arrays import Floats

#: A corrected value is given where the energy is at least this many times the noise that may be in it.
LEAST_SIGNAL = 8.0
#: Normal quantile of a 95 % interval.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Corrected:
    """Norms and cosines without rounding noise; NaN where the noise is too large to say.

    Attributes:
        norms: ‖τ_n‖, experts rounded and the base exact. [N]
        norms_low: The lowest of the three readings. [N]
        norms_high: The highest. [N]
        cosine: As `norms`. [N, N]
        low: The lowest of the three readings, noise included. [N, N]
        high: The highest. [N, N]
        signal: ‖τ̂_n‖² over the larger of the base's and the expert's Σ ulp²/12; infinite without noise. [N]
    """

    norms: Floats
    norms_low: Floats
    norms_high: Floats
    cosine: Floats
    low: Floats
    high: Floats
    signal: Floats


def correct(geometry: Geometry) -> Corrected | None:
    r"""Take rounding to the stored type out of the Gram matrix (Sheppard's correction).

    A stored value is the true one plus an error of variance ulp²/12. Errors of different experts are
    independent of each other and of τ while training moves weights by about an ulp or more (Sheppard, 1898;
    Widrow and Kollár, 2008), so they add F_n = Σ ulp²/12 to ‖τ_n‖² and nothing to inner products. If the base
    was rounded as well after the experts had left it, its error is in every task vector, and F₀ in all of G.

    .. math:: G_{ij} - a\,\delta_{ij} F_i - b\,F_0, \qquad (a, b) \in \{(0, 0), (1, 0), (1, 1)\}

    The files do not tell which of the three it is: nothing was rounded (trained in this very type), the
    experts were, or all were. The value is that of (1, 0), the usual case of a published base and float32
    master weights; the interval spans all three, and what the errors' products leave in the sums (95 %).

    Args:
        geometry: The sums.

    Returns:
        Norms and cosines; None for adapters, whose task vectors are not stored rounded.
    """
    if geometry.expert_noise is None:
        return None
    experts = np.diag(geometry.expert_noise)
    grams = [geometry.gram, geometry.gram - experts, geometry.gram - experts - geometry.base_noise]
    noise = np.maximum(geometry.expert_noise, geometry.base_noise)
    energy = np.diag(geometry.gram)
    signal = np.divide(energy, noise, out=np.full_like(energy, np.inf), where=noise > 0)
    clear = signal >= LEAST_SIGNAL
    readings = np.stack([cosines(gram) for gram in grams])
    spread = _Z * _spread(geometry)
    both = np.outer(clear, clear)
    norms = np.sqrt(np.maximum([np.diag(gram) for gram in grams], 0))
    return Corrected(
        norms=np.where(clear, norms[1], np.nan),
        norms_low=np.where(clear, norms.min(0), np.nan),
        norms_high=np.where(clear, norms.max(0), np.nan),
        cosine=np.where(both, readings[1], np.nan),
        low=np.where(both, np.clip(readings.min(0) - spread, -1, 1), np.nan),
        high=np.where(both, np.clip(readings.max(0) + spread, -1, 1), np.nan),
        signal=signal,
    )


def _spread(geometry: Geometry) -> Floats:
    # With w the noise of an element, the errors' products with task vectors and with each other have a
    # variance of at most Σ w_i τ_j² + Σ w_j τ_i² + 2 Σ w_i w_j; each sum is bounded by Cauchy-Schwarz.
    assert geometry.squares is not None
    assert geometry.noise_square is not None
    noise, fourth = np.sqrt(geometry.noise_square), np.sqrt(np.diag(geometry.squares))
    crossed = np.outer(noise, fourth)
    energies = np.sqrt(np.outer(np.diag(geometry.gram), np.diag(geometry.gram)))
    spread = divide(np.sqrt(crossed + crossed.T + 2 * np.outer(noise, noise)), energies)
    np.fill_diagonal(spread, 0)
    return spread
