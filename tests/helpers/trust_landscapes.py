"""Small landscapes for tests of trust: all subsets of a few datasets, smooth scores, some trained."""

from __future__ import annotations

import numpy as np

from analysis.trust import Landscape
from m2m.mixture import all_subsets
from m2m.support.arrays import Floats


def scores(seed: int, datasets: int = 4) -> tuple[Floats, Floats]:
    """Merged and trained scores of all subsets; equal at single datasets."""
    rng = np.random.default_rng(seed)
    weights = np.array([mixture.weights for mixture in all_subsets("abcdefgh"[:datasets])])
    merged = weights @ rng.normal(size=datasets) - (weights**2) @ rng.normal(size=datasets)
    q = 1 - np.sum(weights**2, axis=1)
    return merged, merged + q * (0.5 + 0.4 * rng.normal() + weights @ rng.normal(size=datasets) / 2)


def landscape(seed: int = 0, trained: int = 5, datasets: int = 4) -> Landscape:
    """A landscape whose first mixtures of two or more datasets, in a shuffled order, are trained."""
    merged, truth = scores(seed, datasets)
    shown = np.full(len(merged), np.nan)
    order = datasets + np.random.default_rng([seed, 1]).permutation(len(merged) - datasets)
    shown[order[:trained]] = truth[order[:trained]]
    purposes = ["" for _ in merged]
    for row in order[:trained]:
        purposes[row] = "random"
    return Landscape(tuple(all_subsets("abcdefgh"[:datasets])), merged, shown[None], purposes=tuple(purposes))
