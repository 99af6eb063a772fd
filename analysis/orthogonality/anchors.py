"""What a shared part of the training data does to cosines: predicted, removed, measured side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.orthogonality.geometry import cosines
from m2m.errors import InputError
from m2m.support.arrays import Floats


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
    """Say what anchored experts train on: row i is β·e_i + (1 − β)/N.

    Args:
        n: Experts, and datasets.
        share: β.

    Returns:
        A. [N, N]

    Raises:
        InputError: If β is not in (0, 1].
    """
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
