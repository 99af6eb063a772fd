"""Choices: regrets and chances of drawn landscapes, and the gain of one more training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.trust_landscapes import landscape

from analysis.trust import Belief, next_training
from analysis.trust.choice import chances, choice, expected_gains, pick, regrets, within
from analysis.trust.process import Hyperparameters
from m2m.errors import InputError
from m2m.support.arrays import Floats


def belief(draws: Floats, noise: float = 0.1, *, higher_is_better: bool = True) -> Belief:
    on = replace(landscape(), higher_is_better=higher_is_better)
    hyper = Hyperparameters(np.ones(5), noise / on.unit, 0)
    return Belief(on, draws.mean(axis=0), draws, (hyper,))


def drawn(seed: int = 0, count: int = 40_000) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.normal(size=15) + rng.normal(size=(count, 15)) @ rng.normal(size=(15, 15)) / 4


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_regrets_and_chances(higher_is_better: bool) -> None:
    draws = drawn() if higher_is_better else -drawn()
    found = belief(draws, higher_is_better=higher_is_better)
    best = draws.max(axis=1) if higher_is_better else draws.min(axis=1)
    row = pick(found)
    assert row == (found.mean.argmax() if higher_is_better else found.mean.argmin())
    assert regrets(found, row) == pytest.approx(np.abs(best - draws[:, row]))
    assert chances(found).sum() == pytest.approx(1)
    assert chances(found)[row] == within(found, row, 0.0)
    taken = choice(found, row)
    assert taken.within["0"] <= taken.within["0.05"] <= taken.within["0.1"]
    assert np.mean(regrets(found, row) <= taken.limit) == pytest.approx(0.95, abs=1e-3)
    # The pick has the least expected regret of all.
    assert taken.regret == pytest.approx(min(regrets(found, other).mean() for other in range(15)))


def test_the_gain_is_what_one_more_training_gains_on_average() -> None:
    draws, noise = drawn(count=4000), 0.3
    found = belief(draws, noise)
    mean, covariance = draws.mean(axis=0), np.cov(draws.T, bias=True)
    rng = np.random.default_rng(1)
    gains = expected_gains(found)
    for row in (4, 9, 14):
        # A training of this mixture, many times over, and the textbook's update of all means.
        spread = np.sqrt(covariance[row, row] + noise**2)
        seen = spread * rng.standard_normal(200_000)
        after = mean + seen[:, None] * covariance[row] / spread**2
        grown = after.max(axis=1) - mean.max()
        error = grown.std() / np.sqrt(len(grown))
        # 15 nodes integrate a maximum of lines, which has kinks, to about a fiftieth of a spread.
        assert gains[row] == pytest.approx(grown.mean(), abs=6 * error + 0.02 * spread)
    assert (gains >= 0).all()


def test_the_next_training_is_the_one_that_can_change_the_pick() -> None:
    draws = np.tile(np.linspace(0, 0.5, 15), (3000, 1))
    draws[:, 12] += np.random.default_rng(0).normal(size=3000)  # may be the best; the others are known
    on = landscape()
    known = on.trained.copy()
    known[0, [row for row in range(4, 15) if row != 12]] = 0.0
    known[0, 12] = np.nan
    found = replace(belief(draws), landscape=replace(on, trained=known))
    following = next_training(found)
    assert following is not None
    assert (following.row, following.mixture) == (12, "a+c+d")
    assert 0 <= following.after < following.regret
    every = np.where(np.isnan(known), 0.0, known)
    assert next_training(replace(found, landscape=replace(on, trained=every))) is None


def test_targets_have_a_next_training_together() -> None:
    first = belief(drawn(1))
    second = belief(drawn(2))
    one = next_training([first, second])
    alone = [expected_gains(each) / each.landscape.unit for each in (first, second)]
    waiting = np.isnan(first.landscape.measured)
    assert one is not None
    # Regrets stand in the scores' unit, as all others do; what is chosen does not depend on it.
    lost = [regrets(each, pick(each)).mean() for each in (first, second)]
    assert one.regret == pytest.approx(np.mean(lost))
    gains = [expected_gains(each)[one.row] for each in (first, second)]
    assert one.after == pytest.approx(max(np.mean(lost) - np.mean(gains), 0))
    assert one.row == int(np.argmax(np.where(waiting, alone[0] + alone[1], -1)))
    other = landscape(datasets=3, trained=2)
    with pytest.raises(InputError, match="different mixtures"):
        next_training([first, replace(second, landscape=other)])
