"""What a run's scores say: agreement, harm, and the picks on the test split, example by example."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity.beside import Beside
from analysis.fidelity.intervals import IntervalEstimate, fisher
from analysis.fidelity.study import FidelityStudy
from analysis.fidelity.utilities import SEVERAL
from analysis.validate.grid import Grid, pooled
from analysis.validate.resampling import of_means, over_mixtures
from analysis.validate.verdict import ONE_SEED, ONE_TRAINING, Evidence
from m2m.mixture import Mixture
from m2m.pipeline.headlines import headline
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.target_utility import utility_of
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats, Ints

_MIXTURES = "mixtures, on every target"
#: What scores of experts say of a mixture without merging.
_UNMERGED = ("best_member", "mean_of_members")


def of_study(study: FidelityStudy) -> dict[str, Evidence]:
    """Take correlations without single datasets from a fidelity study: evidence by claim."""
    overall = study.overall
    pearson = of_estimate(overall.mixtures.pearson)
    by_target = {name: target.mixtures.pearson for name, target in study.by.items()}
    return {
        "correlates": pearson,
        "correlates_language": pearson,
        "correlates_vision": pearson,
        "ranks": of_estimate(overall.mixtures.spearman),
        "no_breakdown": weakest(by_target),
        "no_seed_noise": replace(of_estimate(overall.ceiling.agreement["pearson"]), condition=""),
        **_without_merging(study.beside),
    }


def _without_merging(beside: Beside) -> dict[str, Evidence]:
    """Take merging's leads over what its own experts say unmerged."""
    overall = beside.pooled or next(iter(beside.by.values()), {})
    several = beside.choices.get(SEVERAL)
    leads = {f"beats_{name}": overall[name].pearson_lead for name in _UNMERGED if name in overall}
    picks = {f"picks_better_than_{name}": several.lead[name] for name in _UNMERGED if several}
    return {
        claim: Evidence(e.value, e.low, e.high, e.n, rows, e.method, e.reason, ONE_SEED)
        for found, rows in ((leads, "mixtures × targets"), (picks, "pairs and triples of targets"))
        for claim, e in found.items()
    }


def of_estimate(estimate: IntervalEstimate) -> Evidence:
    """Take an estimate with its first interval, whose method says what it is about."""
    low, high, method = estimate.low, estimate.high, estimate.method
    if estimate.about:
        method = f"{method}, for {estimate.about}"
    rows = "mixtures × targets"
    if low is not None and low == high:
        reason = "the interval collapses: too few points to tell, not certainty"
        return Evidence(estimate.value, None, None, estimate.n, rows, method, reason, ONE_SEED)
    return Evidence(estimate.value, low, high, estimate.n, rows, method, estimate.reason, ONE_SEED)


def weakest(by_target: Mapping[str, IntervalEstimate]) -> Evidence:
    """Estimate the lowest of several targets' correlations.

    The lower end is the lowest of the targets' lower ends: it lies above the truth only if the truly weakest
    target's does (an intersection-union test; Berger 1982). The lowest of T estimates is low by selection
    too; that is allowed for at the upper end, by the distance of level 1 − 0.05/T on the scale of atanh.

    Args:
        by_target: Name to correlation.

    Returns:
        The lowest. No value if a target has none, as that may be the broken one.
    """
    found = {name: of_estimate(estimate) for name, estimate in by_target.items()}
    rows, method = "targets", "lowest of the targets' intervals"
    for name, one in sorted(found.items(), key=lambda item: item[1].value is not None):
        if one.value is None or one.low is None or one.high is None:
            reason = f"target {name}: {one.reason or 'no interval'}"
            return Evidence(None, None, None, len(found), rows, method, reason, ONE_SEED)
    wider = float(stats.norm.isf(0.025 / len(found)) / stats.norm.isf(0.025))

    def upper(one: Evidence) -> float:
        assert one.value is not None
        assert one.high is not None
        if max(abs(one.value), abs(one.high)) >= 1:
            return 1.0
        center = math.atanh(one.value)
        return math.tanh(center + wider * (math.atanh(one.high) - center))

    value = min(one.value for one in found.values() if one.value is not None)
    low = min(one.low for one in found.values() if one.low is not None)
    high = min(map(upper, found.values()))
    return Evidence(value, low, high, len(found), rows, method, condition=ONE_SEED)


def of_grid(grid: Grid, seed: int) -> dict[str, Evidence]:
    """Measure harm, offset and order at the top: evidence by claim."""
    harmed = grid.trained < grid.base[:, None]
    merged, trained = grid.merged[:, grid.large], grid.trained[:, grid.large]

    def offset_left(chosen: Ints) -> float:
        gap, truth = (centred(v[:, chosen]) for v in (trained - merged, trained))
        spread = float(np.sqrt((truth**2).mean()))
        return float(np.sqrt((gap**2).mean())) / spread if spread > 0 else float("nan")

    return {
        "some_mixtures_harm": over_mixtures(
            lambda chosen: float(harmed[:, chosen].mean()), len(grid.mixtures), seed, _MIXTURES, harmed.size
        ),
        "merged_resist_harm": advantage(grid, grid.trained, seed),
        "constant_offset": replace(
            over_mixtures(offset_left, len(grid.large), seed, _MIXTURES, trained.size), condition=ONE_SEED
        ),
        "no_top_breakdown": among_the_best(merged, trained),
    }


def among_the_best(merged: Floats, trained: Floats) -> Evidence:
    """Measure Spearman's rho among the quarter of the mixtures trained best, mean over targets.

    The interval is that of a single target (Bonett and Wright 2000): the best quarters of targets that share
    all trained models may be one and the same, and more targets then add nothing.

    Args:
        merged: Scores of merged models. [T, M]
        trained: Scores of trained models. [T, M]

    Returns:
        The mean correlation.
    """
    count, method = -(-trained.shape[1] // 4), "Bonett-Wright, as of one target"
    rows = "mixtures, the best quarter"
    if count < 4:
        reason = f"the best quarter of {trained.shape[1]} mixtures is {count}: four are needed"
        return Evidence(None, None, None, count, rows, method, reason)
    best = np.argsort(-trained, axis=1, kind="stable")[:, :count]
    quarters = zip(*(np.take_along_axis(v, best, axis=1)[:, None] for v in (merged, trained)), strict=True)
    found = np.array([pooled("spearman", one, other) for one, other in quarters])
    if np.isnan(found).any():
        reason = "on some target the scores of the best quarter are equal"
        return Evidence(None, None, None, count, rows, method, reason)
    value = float(found.mean())
    interval = fisher("spearman", value, count)
    if interval.low == interval.high:
        return Evidence(value, None, None, count, rows, method, interval.reason)
    return Evidence(value, interval.low, interval.high, count, rows, method, condition=ONE_SEED)


def centred(values: Floats) -> Floats:
    """Take each target's mean off. [T, M]."""
    out: Floats = values - values.mean(1, keepdims=True)
    return out


def advantage(grid: Grid, trained: Floats, seed: int) -> Evidence:
    """Return the mean harm of trained minus harm of merged models, over mixtures of two or more datasets.

    Only pairs count where either model is worse than the base: choosing them by one of the two alone would
    favour the other. `trained` are scores of mixture-trained models. [T, M]
    """
    large = grid.sizes > 1
    merged, truth = grid.merged[:, large], trained[:, large]
    pairs = np.minimum(merged, truth) < grid.base[:, None]
    return mean_over_pairs(merged - truth, pairs, seed)


def mean_over_pairs(values: Floats, pairs: np.ndarray[Any, np.dtype[np.bool_]], seed: int) -> Evidence:
    """Average values [T, M] over the chosen pairs of target and mixture, resampling mixtures."""

    def mean(chosen: Ints) -> float:
        used = pairs[:, chosen]
        return float(values[:, chosen][used].mean()) if used.any() else float("nan")

    rows = "harmed pairs (mixture, target)"
    return replace(over_mixtures(mean, values.shape[1], seed, rows, int(pairs.sum())), condition=ONE_SEED)


def of_test_scores(folder: RunFolder, results: Mapping[str, Any]) -> dict[str, Evidence]:
    """Compare the pick's model with the baselines', example by example: evidence by claim."""
    names = results["datasets"]
    with ScoreTable(folder.table, read_only=True) as table:
        found = dict(_test_rows(table, results))
    picked = Mixture.subset(names, results["picked"]).label
    # A run with `baselines = false` trained none of the first two; what a task judges has no similarity.
    baselines = {"beats_all": "all", "beats_similarity": "similarity"}
    against = {
        claim: Mixture.subset(names, results[baseline]).label
        for claim, baseline in baselines.items()
        if baseline in results
    }
    against["no_negative_transfer"] = ""
    return {
        claim: paired([a - b for a, b in zip(found[picked], found[other], strict=True)], picked, other)
        for claim, other in against.items()
        if picked in found and other in found
    }


def _test_rows(table: ScoreTable, results: Mapping[str, Any]) -> Iterator[tuple[str, list[Floats]]]:
    """Yield each model's scores, an array a target that counts, in the unit of what the run chose by."""
    utility = utility_of(results)
    rates = {results["target"]: 1.0 if results["higher_is_better"] else -1.0}
    if utility is not None:
        rates = {target: utility.rate(target) for target in utility.weights}
    by_model = defaultdict[str, list[Floats]](list)
    for target, rate in rates.items():
        what = {"split": "test", "task": target, "metric": headline(results, target)[0]}
        for row in table.rows(origin="base", **what):
            by_model[""].append(rate * row.examples)
        for row in table.rows(origin="trained", seed=results["seed"], **what):
            by_model[row.candidate].append(rate * row.examples)
    yield from ((name, parts) for name, parts in by_model.items() if len(parts) == len(rates))


def paired(differences: Sequence[Floats], picked: str, other: str) -> Evidence:
    """Estimate the mean difference of two models on the same examples [E], summed over samples of them.

    Args:
        differences: The differences, in the unit of what is chosen by; an array a target. [E] each
        picked: Label of the one mixture.
        other: Label of the other; the same has a difference of 0 and no interval.

    Returns:
        What was found.
    """
    if picked == other:
        reason, count = f"the pick is the same mixture, {picked}", sum(map(len, differences))
        return Evidence(0.0, None, None, count, "test examples", "paired", reason)
    return replace(of_means(differences, "test examples"), condition=ONE_TRAINING)
