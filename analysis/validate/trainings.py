"""The extra trainings: mixtures of another horizon, and experts whose recipes differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity.coefficients import of_rescored, pearson
from analysis.fidelity.correlation import correlation
from analysis.fidelity.intervals import THESE
from analysis.fidelity.repeats import SEEDS, redraw
from analysis.fidelity.scores import Points, pooled_sample
from analysis.validate.evidence import advantage, mean_over_pairs, of_estimate
from analysis.validate.grid import Grid, points_of
from analysis.validate.verdict import ONE_SEED_TESTS, Evidence
from analysis.validate.workshop import Workshop
from m2m.data import cache_dir
from m2m.mixture import weight_matrix
from m2m.pipeline.worker import Train
from m2m.scoring import Means, ScoreSource, load_targets, verified_models
from m2m.scoring.bench import setup_bench
from m2m.support.arrays import Floats
from m2m.training import TrainRecipe

#: How unequal experts' recipes are: name, what is scaled, largest factor over smallest.
ABLATIONS = (
    ("learning rate ×4", "learning_rate", 4.0),
    ("learning rate ×16", "learning_rate", 16.0),
    ("steps ×4", "steps", 4.0),
)
#: Names as folders.
_PLAIN = str.maketrans({" ": "-", "×": "x", "÷": "d"})
#: MergeMix's experts see a fortieth of the final run's tokens; ours have few steps to begin with.
SHORT = 8


@dataclass(frozen=True)
class Ablation:
    """Fidelity with experts of unequal recipes.

    Attributes:
        name: What differs, and by how much between the first and the last.
        factors: What each expert's recipe is scaled by. [N]
        merged: Scores of the merged models. [T, M]
        correlation: r with the uniformly trained truth without single datasets, pooled within targets.
    """

    name: str
    factors: tuple[float, ...]
    merged: Floats
    correlation: Evidence


@dataclass(frozen=True)
class Trainings:
    """What the extra trainings gave.

    Attributes:
        matched: Scores of mixtures trained for T steps. [T, M]
        pooled: Scores of mixtures trained for T steps a dataset. [T, M]
        rescaled: Scores of θ₀ + |S| (θ̃ − θ₀). [T, M]
        ablations: Fidelity with unequal experts.
        short: Scores of merges of experts that had a `SHORT`-th of the steps. [T, M]
    """

    matched: Floats
    pooled: Floats
    rescaled: Floats
    ablations: tuple[Ablation, ...]
    short: Floats


def train_more(shop: Workshop) -> Trainings:
    """Do all extra trainings; models that lie there already are only scored.

    Args:
        shop: What they need.

    Returns:
        What they gave.
    """
    other = _other_horizon(shop)
    own_is_matched = shop.config.train.horizon == "matched"
    return Trainings(
        matched=shop.grid.trained if own_is_matched else other,
        pooled=other if own_is_matched else shop.grid.trained,
        rescaled=_rescaled(shop),
        ablations=tuple(_ablation(shop, number, *row) for number, row in enumerate(ABLATIONS)),
        short=_refitted(shop, f"steps ÷{SHORT}", "steps", (1 / SHORT,) * len(shop.singles)),
    )


def _other_horizon(shop: Workshop) -> Floats:
    own = shop.config.train
    recipe = replace(own, horizon="pooled" if own.horizon == "matched" else "matched")
    large = [m for m in shop.grid.mixtures if len(m.members) > 1]
    room = shop.models / recipe.horizon
    jobs = [Train(m, shop.config.run.seed, recipe, room / m.folder_name, shop.tasks) for m in large]
    scores = shop.grid.trained.copy()  # a single dataset is trained for T steps either way
    scores[:, shop.grid.sizes > 1] = shop.trained(jobs, f"mixtures of the {recipe.horizon} horizon")
    return scores


def _rescaled(shop: Workshop) -> Floats:
    # The base is one more "expert": θ₀ + s(θ̃ − θ₀) has weights s·λ and 1 − s.
    targets = load_targets(shop.config.setup, shop.root, cache_dir())
    shop.folder.check_contents(targets.contents)
    models = {m.label: folder for m, folder in zip(shop.singles, shop.experts, strict=True)}
    sizes = shop.grid.sizes[:, None].astype(np.float64)
    weights = np.hstack([sizes * np.array(weight_matrix(shop.grid.mixtures)), 1 - sizes])
    labels = [f"{mixture.label}, rescaled" for mixture in shop.grid.mixtures]
    bench = setup_bench(targets, shop.grid.targets)
    out = np.empty((len(bench.scorers), len(weights)))
    with (
        verified_models(shop.folder.base, models | {"the base": shop.folder.base}) as opened,
        ScoreSource(opened, bench, Means("resident")) as source,
    ):
        for number, scores in source.walk(weights, labels, bench.scorers):
            out[:, number] = shop.values(scores, shop.tasks)
            shop.progress(number + 1, len(weights), "rescaled merges")
    return out


def _ablation(shop: Workshop, number: int, name: str, key: str, ratio: float) -> Ablation:
    factors = spread(len(shop.singles), ratio, backwards=bool(number % 2))
    merged = _refitted(shop, name, key, factors)
    return Ablation(name, factors, merged, _correlation(shop.grid, merged, "pearson", shop.config.run.seed))


def _refitted(shop: Workshop, name: str, key: str, factors: Sequence[float]) -> Floats:
    room, seed = shop.models / name.translate(_PLAIN), shop.config.run.seed
    jobs = [
        Train(m, seed, scaled(shop.config.train, key, factor), room / m.folder_name, ())
        for m, factor in zip(shop.singles, factors, strict=True)
    ]
    shop.train(jobs, f"experts of other recipe: {name}")
    return shop.merged(shop.grid.mixtures, [job.folder for job in jobs], f"merges of other recipe: {name}")


def spread(count: int, ratio: float, *, backwards: bool = False) -> tuple[float, ...]:
    """Spread factors geometrically around 1.

    Args:
        count: How many.
        ratio: Largest over smallest.
        backwards: Whether the largest comes first.

    Returns:
        The factors, from 1/√ratio to √ratio. [count]
    """
    places = np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(1)
    factors = tuple(float(ratio**place) for place in places)
    return factors[::-1] if backwards else factors


def scaled(recipe: TrainRecipe, key: str, factor: float) -> TrainRecipe:
    """Scale one number of a recipe.

    Args:
        recipe: The recipe.
        key: `learning_rate` or `steps`; steps stay whole and above zero.
        factor: What by.

    Returns:
        The scaled recipe.
    """
    value = getattr(recipe, key) * factor
    changes: Mapping[str, Any] = {key: max(1, round(value), recipe.warmup) if key == "steps" else value}
    return replace(recipe, **changes)


def _correlation(grid: Grid, merged: Floats, coefficient: str, seed: int) -> Evidence:
    """Correlate other merged scores with the truth, over mixtures of two or more datasets and other seeds."""
    points = points_of(grid, merged)
    drawn = redraw(points, seed, retested=False)
    found = of_estimate(correlation(coefficient, pooled_sample(points), seed, drawn))
    return replace(found, condition=ONE_SEED_TESTS)


def _lost_by_inequality(grid: Grid, ablations: Sequence[Ablation], seed: int) -> Evidence:
    """Measure by how much r is higher with uniform experts than on average with others, over other seeds."""
    # The same redraws of the truth for all experts: what they have in common leaves the difference alone.
    rows = "mixtures × targets"
    every = [points_of(grid, merged) for merged in (grid.merged, *(one.merged for one in ablations))]
    values = [_pearson(points) for points in every]
    value = values[0] - float(np.mean(values[1:]))
    n = sum(target.n for target in every[0])
    if np.isnan(value):
        return Evidence(None, None, None, n, rows, SEEDS, "nothing to measure it on")
    redrawn = [redraw(points, seed, retested=False) for points in every]
    known = [found for found in redrawn if not isinstance(found, str)]
    if len(known) < len(redrawn):
        reason = next(found for found in redrawn if isinstance(found, str))
        return Evidence(value, None, None, n, rows, SEEDS, reason, ONE_SEED_TESTS)
    sample = pooled_sample(every[0])
    uniform, *others = (of_rescored("pearson", sample, found.merged, found.trained) for found in known)
    reach = float(np.std(uniform - np.mean(others, axis=0)) * stats.t.ppf(0.975, known[0].freedom))
    freedom = float(known[0].freedom)
    return Evidence(
        value, value - reach, value + reach, n, rows, f"{SEEDS}, for {THESE}", "", ONE_SEED_TESTS, freedom
    )


def _pearson(points: Sequence[Points]) -> float:
    sample = pooled_sample(points)
    return float(pearson(sample, np.ones((1, sample.n)))[0])


def of_trainings(grid: Grid, done: Trainings, seed: int) -> dict[str, Evidence]:
    """Measure what step matching and uniform recipes are worth.

    Args:
        grid: The run's scores.
        done: The extra trainings.
        seed: Seed of the resampling.

    Returns:
        Evidence by claim.
    """
    large = grid.large
    merged, base = grid.merged[:, large], grid.base[:, None]
    matched, pooled_steps, rescaled = (v[:, large] for v in (done.matched, done.pooled, done.rescaled))
    lowest = min(done.ablations, key=lambda a: 2 if a.correlation.value is None else a.correlation.value)

    harmed = np.minimum(np.minimum(merged, matched), pooled_steps) < base
    return {
        "merged_resist_pooled_harm": advantage(grid, done.pooled, seed),
        "steps_explain_resistance": mean_over_pairs(matched - pooled_steps, harmed, seed),
        "rescaled_lose_resistance": _lost_by_rescaling(grid, rescaled, seed),
        "uniformity_matters": _lost_by_inequality(grid, done.ablations, seed),
        "not_sensitive": lowest.correlation,
        "short_experts": _correlation(grid, done.short, "spearman", seed),
    }


def _lost_by_rescaling(grid: Grid, rescaled: Floats, seed: int) -> Evidence:
    """Measure the harm that rescaling adds; where merged models have no advantage, none can be lost."""
    merged = grid.merged[:, grid.large]
    found = mean_over_pairs(merged - rescaled, np.minimum(merged, rescaled) < grid.base[:, None], seed)
    before = advantage(grid, grid.trained, seed)
    if before.low is not None and before.low > 0:
        return found
    reason = "there is no advantage to lose: see whether merged models are harmed less as the run trains"
    return replace(found, low=None, high=None, reason=reason)
