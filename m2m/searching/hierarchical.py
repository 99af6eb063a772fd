"""Many datasets in few clusters: the clusters' shares and the shares inside them, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import numpy as np

from m2m.errors import ConfigError, MixtureError
from m2m.mixture import SUM_TOLERANCE, MergingWeights
from m2m.searching.objective import BudgetSpentError, Ledger, Objective
from m2m.searching.simplex import Simplex
from m2m.searching.strategy import Strategy
from m2m.searching.trust_region import TrustRegion
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Hierarchical(Strategy):
    """MergeMix's search for many datasets (arXiv 2601.17858, Sec. 3.5).

    `top_down` finds the clusters' shares with the prior's shares inside each, then each cluster's inside with
    the clusters' shares fixed. `bottom_up` finds each cluster's inside alone, then the clusters' shares. N
    datasets in C clusters need about (N²/C + C²)/2 evaluations where a flat quadratic needs N²/2.

    Attributes:
        clusters: Dataset names by cluster; each dataset in exactly one.
        direction: `top_down` or `bottom_up`.
        inner: What searches each level.
    """

    spaces = (Simplex,)
    ends = False

    clusters: Mapping[str, Sequence[str]]
    direction: Literal["top_down", "bottom_up"] = "top_down"
    inner: Strategy = field(default_factory=TrustRegion)

    def explore(self, ledger: Ledger, space: Simplex, random: Random) -> None:
        """Search level by level; each gets a share of the budget by its number of pairs."""
        inside = _inside(space, self.clusters)
        if self.direction == "bottom_up" and (space.lower.any() or (space.upper < 1).any()):
            raise ConfigError("bottom_up scores clusters alone, which bounds forbid; search top_down")
        shares = inside @ space.prior  # of the clusters
        ratios = inside * space.prior / shares[:, None]  # inside each cluster
        levels = [None, *range(len(inside))] if self.direction == "top_down" else [*range(len(inside)), None]
        sizes = [len(inside) if level is None else int(inside[level].sum()) for level in levels]
        pairs = [size * (size + 1) // 2 for size in sizes]
        for at, level in enumerate(levels):
            budget = ledger.left * pairs[at] // sum(pairs[at:])
            if level is None:
                shares = self._search(ledger, space, ratios, budget, random)
            elif sizes[at] > 1:
                fixed = shares if self.direction == "top_down" else np.eye(len(inside))[level]
                members = np.flatnonzero(inside[level])
                rest = fixed @ ratios - fixed[level] * ratios[level]
                corners = rest + fixed[level] * np.eye(inside.shape[1])[members]
                ratios[level, members] = self._search(ledger, space, corners, budget, random)
        if ledger.left == 0:
            raise BudgetSpentError

    def _search(self, ledger: Ledger, space: Simplex, corners: Floats, budget: int, random: Random) -> Floats:
        # The best weights of the given corners, each a mixture. [K]
        names = [f"{k}" for k in range(len(corners))]
        lower, upper = _bounds(space, corners)
        if budget < 1:
            raise BudgetSpentError

        def value(weights: MergingWeights) -> float:
            return ledger.loss(ledger(space.mixture(np.array(weights.weights) @ corners)), penalised=True)

        level = Simplex(names, dict(zip(names, lower, strict=True)), dict(zip(names, upper, strict=True)))
        result = self.inner.search(Objective(value, False), level, budget, random.getrandbits(32))
        return np.array(result.best.weights)


def _inside(space: Simplex, clusters: Mapping[str, Sequence[str]]) -> Floats:
    # Which dataset is in which cluster. [C, N]
    named = [name for members in clusters.values() for name in members]
    if sorted(named) != sorted(space.datasets):
        raise MixtureError(f"clusters must hold each of {list(space.datasets)} once, got {named}")
    return np.array([[float(n in members) for n in space.datasets] for members in clusters.values()])


def _bounds(space: Simplex, corners: Floats) -> tuple[list[float], list[float]]:
    # A corner's own share of a dataset, beyond what all corners have of it, must keep the dataset's bounds.
    common = corners.min(0)
    own = corners - common
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = np.where(own > 0, (space.lower - common) / own, 0.0).max(1)
        upper = np.where(own > 0, (space.upper - common) / own, 1.0).min(1)
    lower = np.where(lower > upper + SUM_TOLERANCE, lower, np.minimum(lower, upper))  # rounding
    return lower.clip(0, 1).tolist(), upper.clip(0, 1).tolist()
