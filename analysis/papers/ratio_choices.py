"""Ratios chosen in several ways, each really trained with seeds that chose nothing, and scored on test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.papers.capabilities import OVERALL, Capabilities
from analysis.papers.ratio_bench import RatioBench
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


@dataclass(frozen=True)
class Judge:
    """Trains what was chosen with fresh seeds and scores it on test.

    Attributes:
        bench: Where.
        capabilities: The utilities.
        seeds: Seeds that chose nothing.
        base: The base model's scores on test. [T]
    """

    bench: RatioBench
    capabilities: Capabilities
    seeds: range
    base: Floats

    def of(self, chosen: Mapping[str, Mixture], against: str, what: str) -> dict[str, Any]:
        """Train all choices.

        Args:
            chosen: A mixture by the name of the way that chose it.
            against: The name of the way that the others are compared with.
            what: What to tell.

        Returns:
            By way: the mixture, each utility with its interval over seeds, and how far each is ahead of
            `against`'s with the same seeds.
        """
        scores = self.bench.trained(list(chosen.values()), self.seeds, what, "test")
        by = {name: self.capabilities.of(name, scores, self.base) for name in self.capabilities.names}
        other = list(chosen).index(against)
        return {
            way: {
                "mixture": mixture.label,
                "shares": mixture.shares,
                "by": {name: over_seeds(values[:, at]).to_json() for name, values in by.items()},
                "ahead": {
                    name: over_seeds(values[:, at] - values[:, other]).to_json()
                    for name, values in by.items()
                },
            }
            for at, (way, mixture) in enumerate(chosen.items())
        }


def general(
    surfaces: Mapping[str, Surfaces],
    found: Mixture,
    prior: Mapping[str, float],
    points: Floats,
    trained: Floats,
    alone: Floats,
) -> dict[str, Mixture]:
    """Choose for all capabilities in every way.

    Args:
        surfaces: Surfaces fitted to merged starting mixtures, by family.
        found: What `m2m mix` found.
        prior: A ratio written down before anything was trained.
        points: Ratios that were trained, of which `TRIALS` may be looked at. [M, N]
        trained: Their validation scores with one seed. [M, T]
        alone: The experts' scores. [N, T]

    Returns:
        A mixture by way.
    """
    names, space, smooth = found.datasets, Simplex(found.datasets), surfaces[SMOOTH]
    trials, scores = points[:TRIALS], trained[:TRIALS]
    gains = smooth.capabilities.of(OVERALL, scores, smooth.base)
    regressed = Surfaces.fitted(SET, trials, scores, smooth.capabilities, smooth.base, smooth.seed)
    best = int(np.argmax(smooth.capabilities.of(OVERALL, alone, smooth.base)))
    trees = {name: fitted for name, fitted in surfaces.items() if name != SMOOTH}
    return {
        "uniform": Mixture.subset(names, names),
        "best_member": Mixture.subset(names, [names[best]]),
        "prior": space.mixture(np.array([prior[name] for name in names])),
        "best_of_trials": space.mixture(trials[int(np.argmax(gains))]),
        "regmix": space.mixture(regressed.best(OVERALL, space)),
        **{name: space.mixture(fitted.best(OVERALL, space)) for name, fitted in trees.items()},
        MERGEMIX: found,
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
