"""Anchored experts: each trains on a share of its own data and a share of what all have in common."""

from __future__ import annotations

from collections.abc import Sequence

from m2m.errors import MixtureError
from m2m.mixture import Mixture


def anchors(datasets: Sequence[str], share: float, common: Mixture | None = None) -> list[Mixture]:
    """Mix what anchored experts train on: row i is β·e_i + (1 − β)·common (as in DeMix).

    Differences between experts' gradients and Hessians shrink by β, the residual to second order by β². A
    merge with weights w then stands for the mixture Aᵀw, where row i of A is expert i's mixture; mixtures
    outside the anchors' hull are out of reach.

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
    """Say which mixture a merge of (anchored) experts stands for.

    Args:
        experts: What each expert trains on: rows of A. [N]
        weights: Merging weights w. [N]

    Returns:
        The mixture Aᵀw.
    """
    pairs = list(zip(experts, weights, strict=True))
    names = experts[0].datasets
    return Mixture.normalised(
        {name: sum(weight * row.weights[i] for row, weight in pairs) for i, name in enumerate(names)}
    )
