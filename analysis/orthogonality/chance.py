"""What cosines chance alone would give: the effective dimension of task vectors, and z-scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.orthogonality.geometry import Geometry, divide
from m2m.support.arrays import Floats


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
