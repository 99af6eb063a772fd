"""What a run's scores and models say: agreement, choice, harm, cost, cosines, residuals, curvature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from analysis.curvature.tables import curvature
from analysis.fidelity.intervals import IntervalEstimate
from analysis.fidelity.study import FidelityStudy
from analysis.orthogonality.study import of_run as orthogonality_of_run
from analysis.trained_run import TrainedRun, open_run
from analysis.validate.grid import Grid, of_mean, over_datasets, over_mixtures, pooled_rank_correlation
from analysis.validate.verdict import Evidence
from m2m.errors import InputError
from m2m.mixture import Mixture, weight_matrix
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats, Ints

_MIXTURES = "mixtures, on every target"
#: Examples a dataset for curvature: its tables settle early, and a product costs two gradients.
EXAMPLES = 8


def of_study(study: FidelityStudy) -> dict[str, Evidence]:
    """Take correlations and choices from a fidelity study: evidence by claim."""
    overall, targets = study.overall, list(study.by.values())
    pearson = of_estimate(overall.mixtures.pearson)
    weakest = min((t.mixtures.pearson for t in targets), key=lambda e: 2 if e.value is None else e.value)
    shares = [
        t.decision.regret / t.decision.regret_of_random
        for t in targets
        if t.decision.regret is not None and t.decision.regret_of_random
    ]
    return {
        "correlates": pearson,
        "correlates_language": pearson,
        "correlates_vision": pearson,
        "ranks": of_estimate(overall.mixtures.spearman),
        "not_singletons": of_estimate(overall.mixtures.pearson),
        "no_breakdown": of_estimate(weakest),
        "no_seed_noise": of_estimate(overall.ceiling.agreement["pearson"]),
        "near_oracle": of_mean(shares, "targets"),
    }


def of_estimate(estimate: IntervalEstimate) -> Evidence:
    """Take an estimate with the interval that resamples mixtures, as rows of a mixture are dependent."""
    resampled = next(
        (i for i in estimate.intervals if i.method == "mixture bootstrap" and i.low is not None), None
    )
    low, high, method = (
        (resampled.low, resampled.high, resampled.method)
        if resampled
        else (estimate.low, estimate.high, estimate.method)
    )
    return Evidence(estimate.value, low, high, estimate.n, "mixtures × targets", method, estimate.reason)


def of_grid(grid: Grid, seed: int) -> dict[str, Evidence]:
    """Measure harm and offset: evidence by claim."""
    harmed = grid.trained < grid.base[:, None]
    count = len(grid.mixtures)

    def offset_left(chosen: Ints) -> float:
        gap, truth = (centred(v[:, chosen]) for v in (grid.trained - grid.merged, grid.trained))
        spread = float(np.sqrt((truth**2).mean()))
        return float(np.sqrt((gap**2).mean())) / spread if spread > 0 else float("nan")

    return {
        "some_mixtures_harm": over_mixtures(
            lambda chosen: float(harmed[:, chosen].mean()), count, seed, _MIXTURES, harmed.size
        ),
        "merged_resist_harm": advantage(grid, grid.trained, seed),
        "constant_offset": over_mixtures(offset_left, count, seed, _MIXTURES, harmed.size),
        "no_top_breakdown": of_mean(_among_the_best(grid), "targets"),
    }


def _among_the_best(grid: Grid) -> list[float]:
    """Return Spearman's rho among the quarter of the mixtures trained best, target by target."""
    count = -(-len(grid.mixtures) // 4)
    if count < 3:
        return []
    best = np.argsort(-grid.trained, axis=1, kind="stable")[:, :count]
    rows = zip(
        *(np.take_along_axis(v, best, axis=1)[:, None] for v in (grid.merged, grid.trained)), strict=True
    )
    found = [pooled_rank_correlation(merged, trained) for merged, trained in rows]
    return [rho for rho in found if not np.isnan(rho)]


def of_transfer(small: Grid, large: Grid) -> Evidence:
    """Measure a small model's choices on a larger one: mean of regret over a random choice's regret."""
    shares = []
    for merged, truth in zip(small.merged, large.trained, strict=True):
        regret, by_chance = truth.max() - truth[np.argmax(merged)], truth.max() - truth.mean()
        if by_chance > 0:
            shares.append(float(regret / by_chance))
    return of_mean(shares, "targets")


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

    return over_mixtures(mean, values.shape[1], seed, "harmed pairs (mixture, target)", int(pairs.sum()))


def of_test_scores(folder: RunFolder, results: Mapping[str, Any]) -> dict[str, Evidence]:
    """Compare the pick's model with the baselines', example by example: evidence by claim."""
    names = results["datasets"]
    with ScoreTable(folder.table, read_only=True) as table:
        found = dict(_test_rows(table, results))
    picked = Mixture.subset(names, results["picked"]).label
    against = {
        "beats_all": Mixture.subset(names, results["all"]).label,
        "beats_similarity": Mixture.subset(names, results["similarity"]).label,
        "no_negative_transfer": "",
    }
    return {
        claim: paired(found[picked] - found[other], picked, other)
        for claim, other in against.items()
        if picked in found and other in found
    }


def _test_rows(table: ScoreTable, results: Mapping[str, Any]) -> Iterator[tuple[str, Floats]]:
    sign = 1.0 if results["higher_is_better"] else -1.0
    what = {"split": "test", "task": results["target"], "metric": results["metric"]}
    for row in table.rows(origin="base", **what):
        yield "", sign * row.examples
    for row in table.rows(origin="trained", seed=results["seed"], **what):
        yield row.candidate, sign * row.examples


def paired(differences: Floats, picked: str, other: str) -> Evidence:
    """Estimate the mean difference of two models on the same examples [E]; for one mixture, zero."""
    if picked == other:
        reason = f"the pick is the same mixture, {picked}"
        return Evidence(0.0, 0.0, 0.0, len(differences), "test examples", "paired", reason)
    return of_mean(differences, "test examples")


def of_costs(results: Mapping[str, Any]) -> dict[str, Evidence]:
    """Compare the seconds of choosing by merging with those of training every mixture, timed once."""
    seconds = results["seconds"]
    if not {"experts", "surrogate", "truth"} <= seconds.keys():
        return {}
    ratio = (seconds["experts"] + seconds["surrogate"]) / (seconds["experts"] + seconds["truth"])
    return {"few_trainings": Evidence(ratio, ratio, ratio, 1, "timings", "one timing, no interval")}


def of_models(folder: RunFolder, seed: int, *, with_curvature: bool) -> dict[str, Evidence]:
    """Measure the geometry of a run's models, without training and without scores: evidence by claim."""
    study = orthogonality_of_run(folder.root)
    found = {"orthogonal": over_datasets(abs(study.whole.cosine), "pairs of datasets")}
    run = open_run(folder.root, EXAMPLES, float64=False)  # intervals over datasets are far wider
    if run.mixtures:
        moves = [run.displacement(mixture, run.seed) for mixture in run.mixtures]
        trained = torch.stack([move for move in moves if move is not None])
        weights = torch.tensor(weight_matrix(run.mixtures), dtype=run.experts.dtype)
        relative = ((trained - weights @ run.experts).norm(dim=1) / trained.norm(dim=1)).numpy()
        found["first_order"] = over_mixtures(
            lambda chosen: float(relative[chosen].mean()), len(relative), seed, "mixtures"
        )
    if with_curvature:
        found["curvature_dominant"] = _dominance(run)
    return found


def _dominance(run: TrainedRun) -> Evidence:
    rows = "pairs of datasets, both ways"
    try:
        gamma = curvature(run.surface, run.experts, run.datasets).gamma
    except InputError as error:  # one claim less is no reason to end a validation of hours
        return Evidence(None, None, None, 0, rows, "dataset jackknife", str(error))
    return over_datasets(gamma, rows)
