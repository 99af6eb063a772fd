from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from m2m.errors import ConfigError, MixtureError
from m2m.mixture import Mixture
from m2m.searching import Hierarchical, Objective, Simplex, search

NAMES = tuple("abcdef")
CLUSTERS = {"first": "abc", "second": "de", "third": "f"}


def objective(seed: int) -> tuple[Objective, list[str]]:
    """‖mean τ − goal‖² with the goal inside; and a list of what was asked."""
    generator = np.random.default_rng(seed)
    tasks = generator.standard_normal((6, 30))
    goal = generator.dirichlet(np.ones(6)) @ tasks
    asked: list[str] = []

    def loss(mixture: Mixture) -> float:
        asked.append(mixture.key)
        return float(((np.array(mixture.weights) @ tasks - goal) ** 2).sum())

    return Objective(loss, False), asked


@pytest.mark.parametrize("direction", ["top_down", "bottom_up"])
@pytest.mark.parametrize("seed", range(3))
def test_levels_get_near_the_optimum(direction: Literal["top_down", "bottom_up"], seed: int) -> None:
    goal, asked = objective(seed)
    space = Simplex(NAMES)
    result = search(goal, space, Hierarchical(CLUSTERS, direction), budget=40, seed=seed)
    assert len(asked) == result.evaluations <= 40
    uniform = goal.function(space.mixture(np.full(6, 1 / 6)))
    assert result.value < 0.5 * uniform
    assert all(step.mixture in space for step in result.trajectory)


def test_bounds_hold_on_every_level() -> None:
    goal, _ = objective(1)
    space = Simplex(NAMES, {"b": 0.05}, {"a": 0.3, "d": 0.25})
    result = search(goal, space, Hierarchical(CLUSTERS), budget=40)
    assert all(step.mixture in space for step in result.trajectory)


def test_what_cannot_be_is_refused() -> None:
    goal, _ = objective(0)
    with pytest.raises(MixtureError, match="clusters must hold each of"):
        search(goal, Simplex(NAMES), Hierarchical({"first": "abc"}), budget=9)
    with pytest.raises(ConfigError, match="which bounds forbid; search top_down"):
        search(goal, Simplex(NAMES, upper={"a": 0.5}), Hierarchical(CLUSTERS, "bottom_up"), budget=9)
