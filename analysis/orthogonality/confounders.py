"""What of a cosine is not training: chance, rounding, seed noise, shared data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.orthogonality.geometry import Geometry, cosines, divide
from m2m.errors import InputError
from m2m.support.arrays import Floats

#: A corrected value is given where the energy is at least this many times the noise that may be in it.
LEAST_SIGNAL = 8.0
#: Normal quantile of a 95 % interval.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Chance:
    """Spread of the cosine of two vectors whose signs are drawn at random; its mean is 0.

    Attributes:
        naive: 1/√P, the spread for random directions in P dimensions.
        spread: Standard deviation if every element's sign is independent; None if not known. [N, N]
        dimension: 1 / spread²: how many equal elements would give the same spread. [N, N]
        z: Cosine / spread. [N, N]
        by_tensor: Cosine / spread, if only whole tensors' signs are independent of each other. [N, N]
    """

    naive: float
    spread: Floats | None
    dimension: Floats | None
    z: Floats | None
    by_tensor: Floats

    @property
    def largest_spread(self) -> float | None:
        """The largest defined spread of any pair; None if there is none."""
        if self.spread is None or np.isnan(self.spread).all():
            return None
        return float(np.nanmax(self.spread))


def chance(geometry: Geometry) -> Chance:
    r"""Hold cosines against random signs.

    Flip the sign of every element of τ_j at random. Then ⟨τ_i, τ_j⟩ has mean 0 and variance
    Σ_p τ_i[p]² τ_j[p]², so that the cosine spreads by

    .. math:: \sigma_{ij} = \sqrt{\textstyle\sum_p \tau_i[p]^2 \tau_j[p]^2} \,/\, (\|\tau_i\| \|\tau_j\|),

    which is 1/√P only for vectors whose elements are all of one size: energy in few elements makes large
    cosines likely. Elements of one tensor move together, and so the same is done with the signs of whole
    tensors: the inner product's variance is then the sum of the tensors' squared inner products. That is the
    harder test; with one tensor it is always ±1.

    Args:
        geometry: The sums.

    Returns:
        The spreads and z-scores; NaN beside a zero vector, and on the diagonal, where nothing is tested.
    """
    off = _without_diagonal
    by_tensor = off(divide(geometry.gram, np.sqrt(geometry.by_tensor)))
    naive = float(geometry.elements**-0.5) if geometry.elements else float("nan")
    if geometry.squares is None:
        return Chance(naive, None, None, None, by_tensor)
    energies = np.sqrt(np.outer(np.diag(geometry.gram), np.diag(geometry.gram)))
    spread = off(divide(np.sqrt(geometry.squares), energies))
    return Chance(
        naive,
        spread,
        divide(1.0 * np.ones_like(spread), spread**2),
        divide(geometry.cosine, spread),
        by_tensor,
    )


def _without_diagonal(matrix: Floats) -> Floats:
    copy = matrix.copy()
    np.fill_diagonal(copy, np.nan)
    return copy


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
    Both sums run over tensors that were moved: a frozen tensor's stored values are the base's, error and all.

    .. math:: G_{ij} - a\,\delta_{ij} F_i - b\,F_0, \qquad (a, b) \in \{(0, 0), (1, 0), (1, 1)\}

    The files do not tell which of the three it is: nothing was rounded (trained in this very type), the
    experts were, or all were. The value is that of (1, 0), the usual case of a published base and float32
    master weights; the interval spans all three, and what the errors' products leave in the sums (95 %).

    Args:
        geometry: The sums.

    Returns:
        Norms and cosines; None for adapters, whose task vectors are not stored rounded.
    """
    if geometry.expert_noise is None or geometry.base_noise is None:
        return None
    experts = np.diag(geometry.expert_noise)
    grams = [geometry.gram, geometry.gram - experts, geometry.gram - experts - geometry.base_noise]
    noise = np.maximum(geometry.expert_noise, np.diag(geometry.base_noise))
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


def without_seed_noise(crossed: Floats) -> Floats:
    """Return the cosines of expected task vectors, from experts of two training seeds.

    A task vector is what its data do plus what its seed does: τ = E τ + noise, which lengthens it and leaves
    inner products alone, so that cosines come out small. Noise of different seeds is independent, so products
    across seeds have none (Spearman 1904, for correlations).

    Args:
        crossed: ⟨τ_i of the first seed, τ_j of the second⟩. [N, N]

    Returns:
        ½(G_ij + G_ji)/√(G_ii G_jj), NaN beside an expert whose two seeds share no direction. [N, N]
    """
    return cosines((crossed + crossed.T) / 2)


@dataclass(frozen=True)
class AnchorEffect:
    """Cosines of experts trained on their own data, and of anchored ones trained beside them.

    Attributes:
        share: β, what of its own data an anchored expert was trained on.
        plain: Cosines of the experts on their own data. [N, N]
        anchored: Cosines of the anchored experts, measured. [N, N]
        predicted: The same to first order, from the plain experts' Gram matrix. [N, N]
        removed: Cosines of the anchored experts with the shared part taken out to first order. [N, N]
    """

    share: float
    plain: Floats
    anchored: Floats
    predicted: Floats
    removed: Floats


def anchor_matrix(n: int, share: float) -> Floats:
    """Return what anchored experts train on: row i is β·e_i + (1 − β)/N, β in (0, 1]. [N, N]."""
    if not 0 < share <= 1:
        raise InputError(f"an anchored expert's own share must be above 0 and at most 1, got {share}")
    return share * np.eye(n) + (1 - share) / n


def anchor_effect(plain: Floats, anchored: Floats, share: float) -> AnchorEffect:
    """Compare two Gram matrices of experts of the same datasets.

    To first order a task vector is linear in its data, so anchored ones are A τ and their Gram matrix is
    A G Aᵀ: in part the same vector for all, which alone lifts every cosine.

    Args:
        plain: Gram matrix of experts on their own data. [N, N]
        anchored: Gram matrix of anchored experts, in the same order. [N, N]
        share: β of the anchored ones.

    Returns:
        The four matrices of cosines.
    """
    matrix = anchor_matrix(len(plain), share)
    # β times the inverse of A, in closed form: cosines do not see the factor, and no β makes it singular.
    inverse = np.eye(len(plain)) - (1 - share) / len(plain)
    return AnchorEffect(
        share,
        plain=cosines(plain),
        anchored=cosines(anchored),
        predicted=cosines(matrix @ plain @ matrix.T),
        removed=cosines(inverse @ anchored @ inverse.T),
    )
