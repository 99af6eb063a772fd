"""What is said holds as often as it says, over landscapes whose truth is known.

Counts of hits are binomial where replays are independent: limits are quantiles at 1e-6 if the chance were as
stated. Landscapes of the benchmark are not the process's own: training by gradient descent on quadratics.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.benchmarks import benchmark
from scipy import stats

from analysis.trust import Landscape, agreement, believe
from analysis.trust.agreement import FEWEST
from analysis.trust.choice import choice, pick
from analysis.trust.process import OWN, SHARED, Hyperparameters, Process
from m2m.support.arrays import Floats

pytestmark = pytest.mark.slow
trust = benchmark("trust")


def least(draws: int, chance: float) -> int:
    return int(stats.binom.ppf(1e-6, draws, chance))


def of_the_prior(seed: int) -> tuple[Landscape, Floats]:
    """A landscape of the process itself, five of eleven mixtures trained, and its truth."""
    rng = np.random.default_rng([seed, 5])
    on: Landscape = trust.quadratics(seed, datasets=4).landscape
    on = replace(on, trained=np.full_like(on.trained, np.nan))
    hyper = Hyperparameters.at(rng.standard_normal(SHARED), rng.standard_normal(OWN))
    truth = on.merged + on.unit * Process(on).condition(hyper, 1, rng)[1][0]
    seen = truth + on.unit * hyper.noise * rng.standard_normal(len(truth))
    rows = rng.choice(np.flatnonzero(on.several), 5, replace=False)
    shown = np.full_like(on.trained, np.nan)
    shown[0, rows] = seen[rows]
    return replace(on, trained=shown), truth


def test_on_landscapes_of_the_process_itself() -> None:
    below, held, said, was = 0, [], [], []
    draws = 60
    for seed in range(draws):
        on, truth = of_the_prior(seed)
        [belief] = believe([on], seed)
        taken = choice(belief, pick(belief))
        regret = truth.max() - truth[taken.row]
        below += regret <= taken.limit + 1e-9
        said.append(taken.within["0.05"])
        was.append(regret <= 0.05 * np.ptp(truth))
        hidden = on.several & np.isnan(on.measured)
        low, high = np.quantile(belief.draws[:, hidden], [0.025, 0.975], axis=0)
        held.append(np.mean((low <= truth[hidden]) & (truth[hidden] <= high)))
    assert below >= least(draws, 0.95)
    # Six hidden mixtures move together at the most, so that each landscape counts once.
    assert np.mean(held) == pytest.approx(0.95, abs=5 * math.sqrt(0.95 * 0.05 / draws))
    spread = math.sqrt(np.sum(np.array(said) * (1 - np.array(said)))) / draws
    assert np.mean(said) == pytest.approx(np.mean(was), abs=5 * spread)


def test_on_landscapes_that_gradient_descent_made() -> None:
    rows = np.array(
        [
            row
            for seed in range(40)
            for row in trust.replayed([trust.quadratics(seed, datasets=5)], trust.half, 8, seed)
        ]
    )
    regret, limit, below, _, _, by_merging, _, held = rows.T[:8]
    assert below.sum() >= least(40, 0.95)
    assert 0.85 <= held.mean() <= 0.99
    assert regret.mean() < by_merging.mean()
    # Not ten times wider than what would have held with 95 %.
    assert limit.mean() < 10 * max(np.quantile(regret, 0.95), 0.02)


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize(("datasets", "n"), [(4, 5), (4, 8), (6, 6), (6, 12), (6, 24)])
def test_correlations_from_a_random_half(coefficient: str, datasets: int, n: int) -> None:
    if n < FEWEST[coefficient]:
        [few] = trust.half([trust.quadratics(0, datasets=datasets)], 2 * n, 0)
        assert f"drawn by chance, and there are {n}" in agreement(few, coefficient).reason
        return
    hits = []
    for seed in range(12):
        truth = trust.quadratics(seed, datasets=datasets)
        on, several = truth.landscape, np.flatnonzero(truth.landscape.several)
        exact = agreement(replace(on, trained=on.trained), coefficient).value
        rng = np.random.default_rng(seed)
        for _ in range(50):
            rows = rng.choice(several, n, replace=False)
            purposes = np.where(np.isin(np.arange(len(on.mixtures)), rows), "random", "")
            found = agreement(replace(truth.seen(rows), purposes=tuple(purposes)), coefficient)
            if found.low is not None and found.high is not None:
                hits.append(found.low <= exact <= found.high)
    assert 0.88 <= np.mean(hits) <= 0.995
