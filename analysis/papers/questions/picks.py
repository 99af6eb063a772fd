"""What each way picks among many datasets, how far that is off the best known, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from analysis.papers.questions.hunting import STRATEGIES, Budget, Hunted, Search
from analysis.papers.questions.paired import more_gain, worth
from analysis.papers.retrained import over_seeds
from m2m.mixture import Mixture
from m2m.scoring import most_similar
from m2m.searching import DEFAULT, Subsets
from m2m.support.arrays import Floats

#: By way of choosing and target: a mixture a training seed.
Picks = Mapping[str, Mapping[str, Sequence[Mixture]]]
#: The default search within its budget: what the other ways are held against.
PICK = DEFAULT
#: Strategies whose picks are trained.
TRAINED = (PICK, "greedy", "random")


def picks_of(
    hunts: Mapping[str, Hunted],
    budget: Budget,
    similarities: Mapping[str, Mapping[str, float]],
    seeds: Sequence[int],
) -> dict[str, dict[str, list[Mixture]]]:
    """Choose for every target in every way.

    Args:
        hunts: What its searches tried, by target.
        budget: How much was searched.
        similarities: Similarity of datasets, by target.
        seeds: Training seeds. Random subsets differ from one to the next, all else is one mixture. [S]

    Returns:
        The mixtures, by way and target. [S] each
    """
    picks: dict[str, dict[str, list[Mixture]]] = {}
    for target, hunt in hunts.items():
        names = hunt.best_known[1].datasets
        searches = {name: budget.of(name)[0] for name in TRAINED} | {"longer": budget.longest}
        singles = [pair for pair in hunt.found.values() if len(pair[1].members) == 1]
        chosen = {name: hunt.tried[one].pick for name, one in searches.items()} | {
            "best_single": max(singles, key=lambda pair: pair[0])[1],
            "similarity": Mixture.subset(names, most_similar(similarities[target])),
            "all": Mixture.subset(names, names),
        }
        for way, mixture in chosen.items():
            picks.setdefault(way, {})[target] = [mixture] * len(seeds)
        drawn = [Subsets(list(names)).sample(Random(f"{target} {seed}")) for seed in seeds]
        picks.setdefault("random_subset", {})[target] = drawn
    return picks


def curves(hunts: Mapping[str, Hunted], budget: Budget) -> list[dict[str, Any]]:
    """Return how far searches are from the best known after every evaluation.

    Args:
        hunts: What was tried, by target.
        budget: How much was searched.

    Returns:
        By strategy the mean over targets and seeds, and the lowest and highest target. A search that ended
        before its budget keeps its best.
    """
    told = []
    by_name = {name: budget.of(name) for name in STRATEGIES} | {"longer": [budget.longest]}
    for name, searches in by_name.items():
        shares = np.array([_regrets_so_far(hunt, searches) for hunt in hunts.values()])
        each = {"mean": shares.mean(0), "low": shares.min(0), "high": shares.max(0)}
        told.append({"strategy": name} | {key: values.tolist() for key, values in each.items()})
    return told


def _regrets_so_far(hunt: Hunted, searches: Sequence[Search]) -> Floats:
    """Return the mean over searches of one budget. [budget]."""
    best = [hunt.tried[one].best_so_far for one in searches]
    lasting = [np.pad(b, (0, s.budget - len(b)), mode="edge") for b, s in zip(best, searches, strict=True)]
    return np.asarray(np.mean([regret(hunt, gains) for gains in lasting], axis=0))


def regret(hunt: Hunted, gains: Floats) -> Floats:
    """Return what merged gains lack to the best known: 0 there, 1 at the mean of random subsets."""
    chance = np.concatenate([t.gains for one, t in hunt.tried.items() if one.strategy == "random"]).mean()
    best = hunt.best_known[0]
    return np.asarray((best - gains) / ((best - chance) or 1.0))


def ways_told(picks: Picks, hunts: Mapping[str, Hunted], gains: Mapping[str, Floats]) -> dict[str, Any]:
    """Say what each way picked, and how good models trained on that are on test.

    Args:
        picks: The mixtures, by way and target.
        hunts: What was tried, by target.
        gains: Test gains over the base model by way. [S, T] each

    Returns:
        By way: mean gain, how far the search's pick is ahead of it over targets and on each, the mixtures,
        and their regret among merges where those were scored.
    """
    return {
        way: {
            "datasets": float(np.mean([len(m.members) for row in by_target.values() for m in row])),
            "gain": float(np.mean(gains[way])),
            "ahead": worth(
                more_gain, np.zeros((len(hunts), 1)), (gains[way] - gains[PICK])[:, :, None]
            ).to_json(),
            "targets": {
                target: {
                    "mixtures": [mixture.label for mixture in dict.fromkeys(by_target[target])],
                    "gain": over_seeds(gains[way][:, at]).to_json(),
                    "ahead": over_seeds(gains[PICK][:, at] - gains[way][:, at]).to_json(),
                    "regret": _regret_of(hunts[target], by_target[target][0]),
                }
                for at, target in enumerate(hunts)
            },
        }
        for way, by_target in picks.items()
    }


def _regret_of(hunt: Hunted, mixture: Mixture) -> float | None:
    """Return a mixture's regret among merges; None if no search scored it."""
    known = hunt.found.get(mixture.key)
    return None if known is None else float(regret(hunt, np.array([known[0]]))[0])
