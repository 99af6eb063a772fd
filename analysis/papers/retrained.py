"""What a run and its baselines chose, trained with seeds that chose nothing, and scored on test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity import FidelityStudy, IntervalEstimate, Points
from analysis.papers.experiment import Place
from analysis.validate.grid import read_grid
from analysis.validate.workshop import Workshop
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.pipeline.config import RunConfig
from m2m.pipeline.headlines import headline
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.target_utility import METRIC, TargetUtility, utility_of
from m2m.pipeline.worker import Train
from m2m.support.arrays import Floats
from m2m.support.devices import one_thread

#: Who chooses by merging; what others gain is counted from there.
MERGING = "picked"
#: What the run chose, by its names in `results.json`, and what chooses by the experts' scores alone.
_OF_RUN, _FREE = (MERGING, "all", "similarity", "random", "oracle"), ("best_member", "mean_of_members")
_SEEDS = "Student's t over training seeds"


@dataclass(frozen=True)
class _Chosen:
    """What was chosen for a run's targets, and how that is measured."""

    folder: RunFolder
    config: RunConfig
    results: Mapping[str, Any]
    utility: TargetUtility
    mixtures: Mapping[str, Mixture]

    @property
    def distinct(self) -> list[Mixture]:
        """The mixtures, each once."""
        return list({mixture.key: mixture for mixture in self.mixtures.values()}.values())


def retrained(
    folder: RunFolder, config: RunConfig, study: FidelityStudy, place: Place, seeds: int
) -> dict[str, Any]:
    """Train what was chosen with `seeds` seeds after those of the truth, and score it on test.

    Args:
        folder: The run's folder; every mixture is trained.
        config: Its configuration.
        study: Its fidelity.
        place: Where to work.
        seeds: How many.

    Returns:
        By way of choosing: the mixture, its test scores by target and their utility with intervals over
        seeds, how far that is ahead of merging's pick, and its regret on validation in the first seed.

    Raises:
        InputError: If the run chose for one target, on which one dataset mostly wins.
    """
    results = folder.read_results()
    utility = utility_of(results)
    if utility is None:
        raise InputError(f"{config.path}: wanted several targets with weights, got {results['target']!r}")
    chosen = _Chosen(folder, config, results, utility, _choices(study, results))
    scores = _test_scores(chosen, seeds, place)
    base = {target: results[METRIC]["test"][target]["base"] for target in utility.weights}
    gains = {name: utility.of(scores[mixture.key], base) for name, mixture in chosen.mixtures.items()}
    points = study.chosen_for[results["target"]].points
    return {
        "for": results["target"],
        "seeds": seeds,
        "targets": {
            t: dict(zip(("metric", "higher_is_better"), headline(results, t), strict=True))
            | {"base": base[t]}
            for t in utility.weights
        },
        "by": {
            name: _way(mixture, scores[mixture.key], gains[name], gains[MERGING], points)
            for name, mixture in chosen.mixtures.items()
        },
        "regret_of_random": float(np.mean([_regret(points, label) for label in points.labels])),
    }


def _way(
    mixture: Mixture, scores: Mapping[str, Floats], gains: Floats, of_merging: Floats, points: Points
) -> dict[str, Any]:
    """Say of one way of choosing what it chose and how good that is; scores and gains are of S seeds."""
    return {
        "mixture": mixture.label,
        "datasets": len(mixture.members),
        "utility": over_seeds(gains).to_json(),
        "ahead": over_seeds(gains - of_merging).to_json(),
        "scores": {target: over_seeds(values).to_json() for target, values in scores.items()},
        "regret": _regret(points, mixture.label),
    }


def _choices(study: FidelityStudy, results: Mapping[str, Any]) -> dict[str, Mixture]:
    """Return every way of choosing and its mixture, in the order in which they are told."""
    datasets = results["datasets"]
    by_experts = {p.surrogate: p.picked for p in study.beside.picks if p.targets == (results["target"],)}
    return {name: Mixture.subset(datasets, results[name]) for name in _OF_RUN if name in results} | {
        name: Mixture.parse(by_experts[name], datasets) for name in _FREE
    }


def _test_scores(chosen: _Chosen, seeds: int, place: Place) -> dict[str, dict[str, Floats]]:
    """Return test scores by mixture and target, a number a seed. [S]."""
    folder, config, results = chosen.folder, chosen.config, chosen.results
    first = config.run.seed + config.run.truth_seeds
    tasks = tuple((target, "test") for target in chosen.utility.weights)
    jobs = [
        Train(m, seed, config.train, folder.root / "retrained" / m.folder_name / f"seed{seed}", tasks)
        for m in chosen.distinct
        for seed in range(first, first + seeds)
    ]
    grid, root = read_grid(folder, results), Path(folder.read_identity()["root"])
    shop = Workshop(folder, config, root, grid, results, place.work, place.executor, place.progress)
    with one_thread():
        found = shop.train(jobs, "what was chosen, with fresh seeds")
    values = np.array(
        [
            [
                scores.mean(headline(results, target)[0])
                for scores, (target, _) in zip(of_job, tasks, strict=True)
            ]
            for of_job in found
        ]
    ).reshape(len(chosen.distinct), seeds, len(tasks))
    return {
        mixture.key: {target: of_mixture[:, at] for at, (target, _) in enumerate(tasks)}
        for mixture, of_mixture in zip(chosen.distinct, values, strict=True)
    }


def over_seeds(values: Floats) -> IntervalEstimate:
    """Return the mean over training seeds with its interval for others. [S]."""
    mean, count = float(np.mean(values)), len(values)
    spread = float(np.std(values, ddof=1)) if count > 1 else 0.0
    if spread == 0:
        reason = "one seed" if count < 2 else "the same in every seed"
        return IntervalEstimate(mean, None, None, count, _SEEDS, reason)
    reach = float(stats.t.ppf(0.975, count - 1)) * spread / math.sqrt(count)
    return IntervalEstimate(mean, mean - reach, mean + reach, count, _SEEDS)


def _regret(points: Points, label: str) -> float:
    """Return what a mixture's trained utility lacks to the best, as a share of the range over mixtures."""
    best, worst = float(np.max(points.trained)), float(np.min(points.trained))
    return (best - float(points.trained[points.labels.index(label)])) / ((best - worst) or 1.0)
