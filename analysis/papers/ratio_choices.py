"""Ratios chosen in several ways, each really trained with seeds that chose nothing, and scored on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.papers.capabilities import OVERALL, Capabilities
from analysis.papers.ratio_bench import RatioBench, Wanted
from analysis.papers.ratio_search import RatioSearch
from analysis.papers.retrained import over_seeds
from analysis.papers.surfaces import SET, SMOOTH, Surfaces
from m2m.mixture import Mixture
from m2m.searching import Simplex
from m2m.support.arrays import Floats

#: Who the others are compared with.
MERGEMIX = "mergemix"
#: Full trainings that MergeMix's baselines may look at (arXiv 2601.17858, Algorithm 1).
TRIALS = 10
#: Share of the best dataset in a specialist's aggressive mixture.
AGGRESSIVE = 0.7
#: Ratios of which a smaller share of the examples differs, or less than one example, are trained once.
ALIKE = 0.01


@dataclass(frozen=True)
class Judge:
    """Says how good on test is what was chosen and trained with fresh seeds.

    Attributes:
        bench: Where it was trained.
        capabilities: The utilities.
        seeds: Seeds that chose nothing.
        base: The base model's scores on test. [T]
        trained: The mixture that was trained for each chosen one, by its key.
    """

    bench: RatioBench
    capabilities: Capabilities
    seeds: range
    base: Floats
    trained: Mapping[str, Mixture]

    @classmethod
    def of(
        cls,
        bench: RatioBench,
        capabilities: Capabilities,
        seeds: range,
        base: Floats,
        chosen: Sequence[Mixture],
    ) -> Judge:
        """Train all that was chosen in one go, near-equal ratios once, and score it on test."""
        trained = trained_once(chosen, bench.recipe.steps * bench.recipe.batch)
        bench.train([Wanted(list(trained.values()), seeds, "test")], "all that was chosen")
        return cls(bench, capabilities, seeds, base, trained)

    def says(self, chosen: Mapping[str, Mixture], against: str) -> dict[str, Any]:
        """Compare choices that are among the trained ones.

        Args:
            chosen: A mixture by the name of the way that chose it.
            against: The name of the way that the others are compared with.

        Returns:
            By way: the mixture, the first way whose ratio was trained for it, if not its own, each utility
            with its interval over seeds, and how far each is ahead of `against`'s with the same seeds.
        """
        trained = [self.trained[mixture.key] for mixture in chosen.values()]
        first = {mixture.key: way for way, mixture in reversed(list(zip(chosen, trained, strict=True)))}
        scores = self.bench.trained(trained, self.seeds, "what was chosen", "test")
        by = {name: self.capabilities.of(name, scores, self.base) for name in self.capabilities.names}
        other = list(chosen).index(against)
        return {
            way: {
                "mixture": mixture.label,
                "shares": mixture.shares,
                "trained_with": None if first[trained[at].key] == way else first[trained[at].key],
                "by": {name: over_seeds(values[:, at]).to_json() for name, values in by.items()},
                "ahead": {
                    name: over_seeds(values[:, at] - values[:, other]).to_json()
                    for name, values in by.items()
                },
            }
            for at, (way, mixture) in enumerate(chosen.items())
        }


def trained_once(mixtures: Sequence[Mixture], rows: int) -> dict[str, Mixture]:
    """Say which mixture is trained for each, by its key: the first one that gives nearly the same data.

    Args:
        mixtures: Mixtures of the same datasets.
        rows: Examples that a training draws; it draws each dataset's share of them to within one
            (`m2m.training.MixtureSampler`).

    Returns:
        By key; one that stands for itself is there too.
    """
    kept: list[Mixture] = []
    found: dict[str, Mixture] = {}
    for mixture in mixtures:
        near = (one for one in kept if _differing(one, mixture) < max(ALIKE, 1 / rows))
        found[mixture.key] = stands = next(near, mixture)
        if stands is mixture:
            kept.append(mixture)
    return found


def _differing(one: Mixture, other: Mixture) -> float:
    """Return the share of examples that are of other datasets (the total variation of the two)."""
    return sum(abs(a - b) for a, b in zip(one.weights, other.weights, strict=True)) / 2


def general(search: RatioSearch, points: Floats, trained: Floats) -> dict[str, Mixture]:
    """Choose for all capabilities in every way.

    Args:
        search: MergeMix's search.
        points: Ratios that were trained, of which `TRIALS` may be looked at. [M, N]
        trained: Their validation scores with one seed. [M, T]

    Returns:
        A mixture by way.
    """
    space, capabilities, base = Simplex(search.bench.datasets), search.capabilities, search.base
    tried = Surfaces.fitted(SET, points[:TRIALS], trained[:TRIALS], capabilities, base, search.bench.seed)
    trees = {name: fitted for name, fitted in search.surfaces.items() if name != SMOOTH}
    return {
        **without_surfaces(search, points, trained),
        "regmix": space.mixture(tried.best(OVERALL, space)),
        **{name: space.mixture(fitted.best(OVERALL, space)) for name, fitted in trees.items()},
        MERGEMIX: search.found,
    }


def without_surfaces(search: RatioSearch, points: Floats, trained: Floats) -> dict[str, Mixture]:
    """Choose in every way that fits nothing; arguments as of `general`."""
    names, space = search.bench.datasets, Simplex(search.bench.datasets)

    def gains(scores: Floats) -> Floats:
        return search.capabilities.of(OVERALL, scores, search.base)

    return {
        "uniform": Mixture.subset(names, names),
        "best_member": Mixture.subset(names, [names[int(np.argmax(gains(search.alone)))]]),
        "prior": space.mixture(np.array([search.outline.prior[name] for name in names])),
        "best_of_trials": space.mixture(points[int(np.argmax(gains(trained[:TRIALS])))]),
    }


def specialists(surfaces: Surfaces, names: tuple[str, ...], alone: Floats) -> dict[str, dict[str, Mixture]]:
    """Choose for each capability by itself: by MergeMix, its best dataset alone, and mostly that one."""
    space, chosen = Simplex(names), {}
    for capability in surfaces.capabilities.groups:
        best = int(np.argmax(surfaces.capabilities.of(capability, alone, surfaces.base)))
        mostly = np.full(len(names), (1 - AGGRESSIVE) / (len(names) - 1))
        mostly[best] = AGGRESSIVE
        chosen[capability] = {
            MERGEMIX: space.mixture(surfaces.best(capability, space)),
            "single": Mixture.subset(names, [names[best]]),
            "aggressive": space.mixture(mostly),
            "uniform": Mixture.subset(names, names),
        }
    return chosen
