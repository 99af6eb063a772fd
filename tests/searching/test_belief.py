from __future__ import annotations

import numpy as np
import pytest

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.searching import Objective, Simplex, Subsets, assess, search

NAMES = tuple(f"d{i}" for i in range(7))


def landscape(seed: int, noise: float, n: int = 7) -> Objective:
    """‖mean τ − goal‖² with noise that belongs to the mixture."""
    generator = np.random.default_rng(seed)
    tasks, goal = generator.standard_normal((n, 14)), 0.5 * generator.standard_normal(14)

    def loss(mixture: Mixture) -> float:
        own = np.random.default_rng(int(mixture.key, 16)).standard_normal()
        return float(((np.array(mixture.weights) @ tasks - goal) ** 2).sum() + noise * own)

    return Objective(loss, False)


@pytest.mark.parametrize("seed", range(3))
def test_many_exact_evaluations_leave_no_doubt(seed: int) -> None:
    space = Subsets(NAMES)
    result = search(landscape(seed, 0.0), space, "model", budget=100, seed=seed)
    best = search(landscape(seed, 0.0), space, "exhaustive").best
    belief = assess(result.trajectory, space, higher_is_better=False)
    assert belief.pick.mixture == best
    assert belief.pick.tried
    assert belief.pick.probability > 0.9
    assert belief.regret < 0.05 * belief.pick.value
    assert belief.worst.value > belief.pick.value


def test_few_noisy_evaluations_leave_doubt_and_say_what_to_try() -> None:
    space = Subsets(NAMES)
    result = search(landscape(0, 2.0), space, "random", budget=12)
    belief = assess(result.trajectory, space, higher_is_better=False)
    tried = {step.mixture.key for step in result.trajectory}
    assert belief.pick.probability < 0.9
    assert belief.contenders
    assert belief.regret > 0
    assert belief.next
    assert not tried & {mixture.key for mixture in belief.next}
    assert all(contender.tried == (contender.mixture.key in tried) for contender in belief.contenders)
    assert assess(result.trajectory, space, higher_is_better=False) == belief


def test_probabilities_are_calibrated() -> None:
    """Over many noisy problems the pick is the best about as often as the beliefs say."""
    claimed, hits = [], []
    for seed in range(20):
        space = Subsets(NAMES[:5])
        noisy = landscape(100 + seed, 0.7, 5)
        tried = search(noisy, space, "random", budget=20, seed=seed).trajectory
        belief = assess(tried, space, higher_is_better=False, seed=seed)
        best = search(landscape(100 + seed, 0.0, 5), space, "exhaustive").best
        claimed.append(belief.pick.probability)
        hits.append(belief.pick.mixture == best)
    expected, spread = sum(claimed), np.sqrt(sum(p * (1 - p) for p in claimed))
    assert abs(sum(hits) - expected) < 4 * spread + 1


def test_the_direction_is_the_scores() -> None:
    objective = landscape(2, 0.0)
    turned = Objective(lambda mixture: -objective.function(mixture), True)
    space = Subsets(NAMES)
    results = [search(goal, space, "model", budget=40) for goal in (objective, turned)]
    low = assess(results[0].trajectory, space, higher_is_better=False)
    high = assess(results[1].trajectory, space, higher_is_better=True)
    assert low.pick.mixture == high.pick.mixture
    assert low.pick.value == pytest.approx(-high.pick.value)
    assert low.regret == pytest.approx(high.regret)


def test_the_simplex_has_beliefs_too() -> None:
    space = Simplex(NAMES)
    result = search(landscape(1, 0.0), space, "quadratic", budget=32)
    belief = assess(result.trajectory, space, higher_is_better=False)
    assert belief.pick.value <= result.value + 3 * belief.noise


def test_too_few_evaluations_are_refused() -> None:
    space = Subsets(NAMES)
    result = search(landscape(0, 0.0), space, "random", budget=3)
    with pytest.raises(InputError, match="raise the budget to at least 4"):
        assess(result.trajectory, space, higher_is_better=False)


@pytest.mark.parametrize("level", [0.0, 0.7, 1e149])
def test_equal_scores_are_said(level: float) -> None:
    space = Subsets(NAMES)
    result = search(Objective(lambda mixture: level, True), space, "random", budget=20)
    belief = assess(result.trajectory, space, higher_is_better=True)
    assert belief.notes == ("all scores tried are the same: nothing tells the mixtures apart",)
    assert np.isfinite([belief.regret, belief.noise, belief.pick.value, belief.pick.deviation]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_a_score_whose_square_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="a search needs finite scores of at most 1e\\+150"):
        search(Objective(lambda mixture: value, True), Subsets(NAMES), "model", budget=20)
