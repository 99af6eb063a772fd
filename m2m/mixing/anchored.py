"""Anchored experts: each trains on a share of its own data and on what all have in common.

A model that is trained on a mixture sees all of it at once, a plain expert its own data alone. Anchored
experts differ less from each other, so that the residual of merging shrinks; merges that stand for mixtures
outside of what the experts saw have negative weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2m.errors import MixtureError
from m2m.mixture import MergingWeights, Mixture


def anchors(datasets: Sequence[str], share: float, common: Mixture | None = None) -> list[Mixture]:
    """Mix what anchored experts train on: row i is β·e_i + (1 − β)·common (as in DeMix, arXiv 2602.00747).

    Differences between experts' gradients and Hessians shrink by β, the residual to second order by β². A
    merge with weights w then stands for the mixture Aᵀw, where row i of A is expert i's mixture.

    Args:
        datasets: The N dataset names.
        share: β, the expert's own share, in (0, 1].
        common: What is shared; None: all datasets in equal parts.

    Returns:
        A mixture an expert. [N]

    Raises:
        MixtureError: If the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise MixtureError(f"an anchored expert's own share must be above 0 and at most 1, got {share}")
    shared = (common or Mixture.subset(datasets, datasets)).weights
    rows = [
        [share * (i == j) + (1 - share) * weight for j, weight in enumerate(shared)]
        for i in range(len(datasets))
    ]
    return [Mixture.normalised(dict(zip(datasets, row, strict=True))) for row in rows]


def reached(experts: Sequence[Mixture], weights: Sequence[float]) -> Mixture:
    """Return the mixture Aᵀw that a merge of (anchored) experts with weights w stands for."""
    pairs = list(zip(experts, weights, strict=True))
    names = experts[0].datasets
    return Mixture.normalised(
        {name: sum(weight * row.weights[i] for row, weight in pairs) for i, name in enumerate(names)}
    )


def standing_for(mixture: Mixture, share: float) -> MergingWeights:
    """Return the weights with which a merge of anchored experts stands for a mixture: `reached` turned round.

    Args:
        mixture: The mixture λ over the experts' datasets. [N]
        share: β of the experts, anchored on all datasets in equal parts; 1: they are plain.

    Returns:
        (λ − (1 − β)/N)/β, negative where a mixture asks for less of a dataset than every expert saw; the
        mixture itself for plain experts. [N]
    """
    if share == 1:
        return mixture
    points = np.array(mixture.weights)
    weights = (points - (1 - share) / points.size) / share
    return MergingWeights.of(mixture.datasets, weights.tolist())
