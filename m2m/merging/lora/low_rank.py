"""The closest matrix of low rank: a truncated singular value decomposition, randomised where it is large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

#: Where the smaller side is at most this, all singular values are computed; a random range pays beyond.
_EXACT_SIDE = 256
#: Columns of the random range beyond the wanted rank, and power iterations that sharpen it (Halko,
#: Martinsson and Tropp 2011, sections 4.2 and 4.5).
_OVERSAMPLING, _POWERS = 10, 2


class Truncated(NamedTuple):
    """The leading singular triplets of a matrix [m, n].

    Attributes:
        u: Left singular vectors. [m, r]
        s: Singular values, descending. [r]
        vh: Right singular vectors. [r, n]
        exact: Whether all singular values were computed, not a random range.
    """

    u: Tensor
    s: Tensor
    vh: Tensor
    exact: bool

    def cut(self, rank: int) -> Truncated:
        """Keep the first `rank` triplets."""
        return Truncated(self.u[:, :rank], self.s[:rank], self.vh[:rank], self.exact)


def truncated_svd(matrix: Tensor, rank: int, seed: int) -> Truncated:
    """Compute the leading singular triplets of a matrix.

    Args:
        matrix: Float32 or float64. [m, n]
        rank: How many, at most min(m, n).
        seed: Of the random range.

    Returns:
        The triplets: those of the full decomposition where a side is small, else of a random range
        (arXiv 0909.4061, algorithms 4.4 and 5.1).
    """
    small = min(matrix.shape)
    if small <= _EXACT_SIDE or 2 * (rank + _OVERSAMPLING) >= small:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return Truncated(u, s, vh, exact=True).cut(rank)
    generator = torch.Generator().manual_seed(seed)
    width = rank + _OVERSAMPLING
    start = torch.randn(matrix.shape[1], width, generator=generator, dtype=matrix.dtype)
    basis = _orthonormal(matrix @ start)
    for _ in range(_POWERS):
        basis = _orthonormal(matrix @ _orthonormal(matrix.T @ basis))
    u, s, vh = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return Truncated(basis @ u, s, vh, exact=False).cut(rank)


def of_energy(matrix: Tensor, energy: float, most: int, seed: int) -> Truncated:
    """Compute as few leading singular triplets as hold a share of a matrix's squared norm.

    Args:
        matrix: Float32 or float64. [m, n]
        energy: The share, above 0 and at most 1.
        most: The largest rank, even if it holds less.
        seed: Of the random range.

    Returns:
        The triplets.
    """
    whole = float(matrix.double().square().sum())
    most = min(most, *matrix.shape)
    rank = min(16, most)
    while True:
        found = truncated_svd(matrix, rank, seed)
        enough = _enough(found.s.double().square().cumsum(0).tolist(), energy * whole)
        if enough is not None or rank == most:
            return found.cut(rank if enough is None else enough)
        rank = most if found.exact else min(2 * rank, most)


def _enough(sums: Iterable[float], wanted: float) -> int | None:
    return next((rank for rank, total in enumerate(sums, start=1) if total >= wanted), None)


def _orthonormal(columns: Tensor) -> Tensor:
    q: Tensor = torch.linalg.qr(columns).Q
    return q
