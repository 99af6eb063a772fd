"""How good the choice by merging is on a run's own mixtures, in shares of a random pick's regret.

A regret is about the largest of some scores, so resampling mixtures says little of it, and the targets share
all trained models. What can be drawn anew is each mixture's training, with the noise that two seeds show. The
best of noisy scores looks better than it is, so that regrets lean to the large side: a claim that holds does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import special

from analysis.validate import resampling
from analysis.validate.grid import Grid
from analysis.validate.resampling import percentiles
from analysis.validate.verdict import ONE_SEED, Evidence
from m2m.support.arrays import Floats, Ints

_METHOD = "redrawn training seeds"
_ROWS = "targets, of all mixtures"
_ONE_SEED = "one training seed: a lucky training cannot be told from the best mixture (truth_seeds = 2 can)"


def of_choices_on(grid: Grid, seed: int) -> dict[str, Evidence]:
    """Judge the picks of merged models by the trained ones: evidence by claim."""
    picks = np.argmax(grid.merged, axis=1)
    budget = int(np.sum(grid.sizes == 1))
    return {
        "near_oracle": over_seeds(grid, seed, lambda truth: regret_shares(picks, truth)),
        "few_trainings": over_seeds(
            grid, seed, lambda truth: best_of_random(truth, budget) - regret_shares(picks, truth)
        ),
    }


def of_transfer(small: Grid, large: Grid, seed: int) -> Evidence:
    """Judge a small model's picks by a larger one's trained models: mean share of a random pick's regret."""
    picks = np.argmax(small.merged, axis=1)
    return over_seeds(large, seed, lambda truth: regret_shares(picks, truth))


def regret_shares(picks: Ints, trained: Floats) -> Floats:
    """Return what the picks [T] lose against the best of scores [..., T, M], over a random pick's loss.

    NaN where all scores of a target are equal. [..., T]
    """
    best = trained.max(-1)
    chosen = np.take_along_axis(trained, np.broadcast_to(picks[:, None], (*trained.shape[:-1], 1)), -1)
    return _over(best - chosen[..., 0], best - trained.mean(-1))


def best_of_random(trained: Floats, count: int) -> Floats:
    """Return the expected loss of the best of `count` different random mixtures, as a share. [..., T].

    The i-th worst of M scores is the best of k drawn ones with chance C(i − 1, k − 1)/C(M, k).
    """
    ordered = np.sort(trained, axis=-1)
    places = np.arange(trained.shape[-1])
    chance = special.comb(places, count - 1) / special.comb(len(places), count)
    best = ordered[..., -1]
    return _over(best - ordered @ chance, best - trained.mean(-1))


def _over(lost: Floats, by_chance: Floats) -> Floats:
    return np.divide(lost, by_chance, out=np.full_like(lost, np.nan), where=by_chance > 0)


def over_seeds(grid: Grid, seed: int, statistic: Callable[[Floats], Floats]) -> Evidence:
    """Average a statistic of trained scores [..., T, M] over targets, over redrawn training seeds.

    Args:
        grid: The scores.
        seed: Seed of the redraws.
        statistic: Of trained scores [..., T, M] to [..., T].

    Returns:
        Its mean with percentiles; the value is that of both seeds' mean scores. No interval without a second
        training seed.
    """
    count = len(grid.targets)
    if grid.again is None:
        shares = statistic(grid.trained)
        known = float(shares.mean()) if count and not np.isnan(shares).any() else None
        return Evidence(known, None, None, count, _ROWS, _METHOD, _ONE_SEED)
    value = float(np.mean(statistic(_mean_of_seeds(grid))))
    if np.isnan(value):
        reason = "on some target all trained scores are equal"
        return Evidence(None, None, None, count, _ROWS, _METHOD, reason)
    found = percentiles(value, statistic(redrawn(grid, seed)).mean(-1), count, _ROWS, _METHOD)
    return replace(found, condition=ONE_SEED)


def redrawn(grid: Grid, seed: int) -> Floats:
    """Draw the mean scores of two training seeds anew.

    Half the difference of two seeds has the variance of their mean. Every mixture gets the one of some
    mixture, with a random sign and on all targets alike: as many degrees of freedom as there are mixtures,
    and what targets share stays shared.

    Args:
        grid: The scores, of two seeds.
        seed: Seed of the redraws.

    Returns:
        Scores. [R, T, M]
    """
    assert grid.again is not None
    rng, shape = np.random.default_rng(seed), (resampling.RESAMPLES, len(grid.mixtures))
    half = (grid.trained - grid.again) / 2
    noise = half[:, rng.integers(0, shape[1], shape)] * rng.choice([-1.0, 1.0], shape)
    drawn: Floats = _mean_of_seeds(grid) + noise.transpose(1, 0, 2)
    return drawn


def _mean_of_seeds(grid: Grid) -> Floats:
    assert grid.again is not None
    mean: Floats = (grid.trained + grid.again) / 2
    return mean
