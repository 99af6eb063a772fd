"""Regrets of picks by hand, over redrawn trainings; what needs a second seed says so."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.validate import resampling
from analysis.validate.choices import best_of_random, of_choices_on, redrawn, regret_shares
from analysis.validate.grid import Grid
from m2m.mixture import all_subsets

MIXTURES = tuple(all_subsets("abc"))


def grid(merged: np.ndarray, trained: np.ndarray, again: np.ndarray | None = None) -> Grid:
    return Grid(("t", "u"), MIXTURES, np.zeros(2), merged, trained, again)


def test_shares_by_hand() -> None:
    trained = np.array([[0.0, 1, 2, 3], [5, 5, 5, 5]])
    shares = regret_shares(np.array([1, 0]), trained)
    assert shares[0] == pytest.approx(2 / 1.5)
    assert np.isnan(shares[1])


@given(st.integers(2, 6), st.integers(0, 99))
def test_the_best_of_random_mixtures_is_that_of_all_draws(count: int, seed: int) -> None:
    trained = np.random.default_rng(seed).standard_normal((1, 7))
    best = [max(drawn) for drawn in combinations(trained[0], count)]
    lost = trained.max() - np.mean(best)
    assert best_of_random(trained, count)[0] == pytest.approx(lost / (trained.max() - trained.mean()))


def test_one_seed_leaves_choices_unresolved() -> None:
    rng = np.random.default_rng(0)
    found = of_choices_on(grid(*rng.standard_normal((2, 2, 7))), 0)
    for evidence in found.values():
        assert evidence.value is not None
        assert evidence.low is None
        assert evidence.reason.startswith("one training seed: ")


def test_seeds_that_agree_leave_nothing_to_chance() -> None:
    trained = np.random.default_rng(1).standard_normal((2, 7))
    found = of_choices_on(grid(trained, trained, trained), 0)
    assert (found["near_oracle"].low, found["near_oracle"].high) == (0, 0)
    budget = best_of_random(trained, 3).mean()
    assert found["few_trainings"].value == pytest.approx(budget)
    assert found["few_trainings"].low == pytest.approx(budget)


def test_redraws_have_the_noise_that_seeds_show_and_share_it_between_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 4000)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(7)
    trained, apart = rng.standard_normal((2, 7)), np.stack([noise, 3 * noise])
    drawn = redrawn(grid(trained, trained + apart, trained - apart), 0) - trained
    assert drawn.shape == (4000, 2, 7)
    assert drawn[:, 1] == pytest.approx(3 * drawn[:, 0])
    # Each mixture gets each of the seven noises alike: 4000 squares of them are off by a few per cent.
    assert drawn[:, 0].var(0) == pytest.approx(np.full(7, np.mean(noise**2)), rel=0.15)
    assert abs(drawn[:, 0].mean(0)).max() < 5 * np.sqrt(np.mean(noise**2) / 4000)
