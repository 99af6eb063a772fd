from __future__ import annotations

import numpy as np
import pytest

from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.predicting import family
from m2m.searching import MixtureList, Objective, PredictorRounds, Simplex, Subsets, search, strategy_named

NAMES = tuple("abcdef")
GOAL = np.array([0.4, 0.3, 0.2, 0.1, 0.0, 0.0])


def distance(mixture: Mixture) -> float:
    """A quadratic with its minimum at GOAL."""
    return float(((np.array(mixture.weights) - GOAL[: len(mixture.weights)]) ** 2).sum())


LOSS = Objective(distance, higher_is_better=False)


def test_the_best_subset_is_found_from_few() -> None:
    truth = min(Subsets(NAMES), key=distance)
    for name in ("predictor:scheffe", "predictor:gp", "predictor:lightgbm"):
        result = search(LOSS, Subsets(NAMES), name, budget=40)
        assert result.best == truth, name
        assert result.evaluations == 40
        foreseen = [step.predicted is not None for step in result.trajectory]
        assert not any(foreseen[:20]), "the first half is random"
        assert any(foreseen[20:])


def test_a_space_too_large_to_look_at_every_subset_of() -> None:
    names = [f"d{i}" for i in range(16)]
    slopes = np.linspace(-1, 1, 16)
    objective = Objective(lambda mixture: float(slopes @ mixture.weights), higher_is_better=False)
    space = Subsets(names, smallest=2, largest=6, include=["d3"], groups=[["d0", "d1"]])
    result = PredictorRounds("ridge", looked_at=2000).search(objective, space, 40, seed=1)
    assert all(step.mixture in space for step in result.trajectory)
    # d0 and d1 count once: with d3, the lowest mean there is; the sums of a mean differ in their last bits.
    assert result.value == pytest.approx(slopes[[0, 1, 3]].mean(), rel=1e-12)


def test_shares_are_found_between_grid_points() -> None:
    space = Simplex(NAMES, upper={"a": 0.35})
    result = PredictorRounds("scheffe", explored=0.0).search(LOSS, space, 60, seed=0)
    assert all(step.mixture in space for step in result.trajectory)
    exact = np.array([0.35, 0.3 + 0.05 / 3, 0.2 + 0.05 / 3, 0.1 + 0.05 / 3, 0.0, 0.0])
    # The lowest point keeps a little of each of the others' share; a ridge's fit is not exact either.
    assert result.value < distance(Mixture(NAMES, tuple(exact.tolist()))) + 0.01


def test_regmix_is_one_look_after_random_rows() -> None:
    generator = np.random.default_rng(0)
    rows = [Mixture(NAMES, tuple(row)) for row in generator.dirichlet(np.ones(6), 80).tolist()]
    result = search(LOSS, MixtureList(rows), "regmix", budget=60)
    seen, last = result.trajectory[:-1], result.trajectory[-1]
    assert [step.predicted is None for step in seen] == [True] * 59
    model = family("lightgbm-regmix").fit(
        np.array([step.mixture.weights for step in seen]), np.array([step.value for step in seen]), 0
    )
    unseen = [row for row in rows if row not in [step.mixture for step in seen]]
    assert last.mixture == min(unseen, key=lambda row: float(model.predict(np.array([row.weights]))[0]))


def test_everything_is_tried_where_the_budget_allows() -> None:
    result = search(LOSS, Subsets("abcd"), "predictor:ridge", budget=100)
    assert result.evaluations == 15
    assert result.complete


def test_a_space_of_one_point_ends() -> None:
    space = Simplex("ab", {"a": 0.5}, {"a": 0.5})
    objective = Objective(lambda mixture: mixture.weights[0], higher_is_better=True)
    assert PredictorRounds("gp", proposed=1).search(objective, space, 20).evaluations < 5


def test_too_small_a_budget_names_the_one_that_does() -> None:
    with pytest.raises(InputError, match=r"at least 48 scored mixtures .* this budget leaves 19: .* to 49"):
        search(LOSS, Subsets(NAMES), "regmix", budget=20)
    with pytest.raises(InputError, match=r"at least 12 .* leaves 5: raise the budget to 24"):
        search(LOSS, Subsets(NAMES), "predictor:lightgbm", budget=10)
    with pytest.raises(InputError, match="give it a budget"):
        search(LOSS, Subsets(NAMES), "predictor:gp")
    with pytest.raises(ConfigError, match="did you mean 'predictor:lightgbm'"):
        strategy_named("predictor:lightgmb")


@pytest.mark.parametrize("space", [Subsets(NAMES), Simplex(NAMES)], ids=["subsets", "simplex"])
def test_a_genetic_search_beats_its_first_generation(space: Subsets | Simplex) -> None:
    result = search(LOSS, space, "genetic", budget=60, seed=1)
    values = [step.value for step in result.trajectory]
    assert result.value < min(values[:12])
    again = search(LOSS, space, "genetic", budget=60, seed=1)
    assert again.trajectory == result.trajectory
