from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import m2m
from m2m.errors import ConfigError, InputError, MixtureError
from m2m.mixture import Mixture
from m2m.searching import (
    STRATEGIES,
    Exhaustive,
    Greedy,
    Objective,
    OptunaStudy,
    RandomSearch,
    Strategy,
    Subsets,
    search,
)

NAMES = tuple("abcdef")


@dataclass
class Counted:
    """An objective that remembers what it was asked."""

    function: Callable[[Mixture], float]
    asked: list[str] = field(default_factory=list)

    def __call__(self, mixture: Mixture) -> float:
        self.asked.append(mixture.label)
        return self.function(mixture)


def additive(gains: dict[str, float]) -> Callable[[Mixture], float]:
    """Sum of the members' gains: greedy is exact on it."""
    return lambda mixture: sum(gains[name] for name in mixture.members)


def loss_at_mean(taus: dict[str, tuple[float, ...]], goal: tuple[float, ...]) -> Callable[[Mixture], float]:
    """‖goal − mean τ‖²: what averaging experts does to a quadratic loss."""

    def loss(mixture: Mixture) -> float:
        columns = zip(*(taus[name] for name in mixture.members), strict=True)
        return sum(
            (want - sum(column) / len(column)) ** 2 for want, column in zip(goal, columns, strict=True)
        )

    return loss


#: Strategies for subsets that end without a budget.
ENDING = {name: s for name, s in STRATEGIES.items() if s.ends and Subsets in s.spaces}


@pytest.mark.parametrize("strategy", ENDING.values(), ids=ENDING)
@given(
    values=st.lists(st.integers(-3, 3), min_size=15, max_size=15),
    higher=st.booleans(),
    budget=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_laws_of_every_strategy(
    strategy: Strategy, values: list[int], higher: bool, budget: int, seed: int
) -> None:
    space = Subsets("abcd")
    table = {mixture.key: float(value) for mixture, value in zip(space, values, strict=True)}
    asked = Counted(lambda mixture: table[mixture.key])
    objective = Objective(asked, higher)
    result = strategy.search(objective, space, budget, seed)
    assert asked.asked == [step.mixture.label for step in result.trajectory], "paid for what was tried"
    assert len(set(asked.asked)) == result.evaluations <= budget, "and once each"
    best = (max if higher else min)(step.value for step in result.trajectory)
    tied = [step.mixture for step in result.trajectory if step.value == best]
    assert result.value == best
    assert result.best == min(tied, key=list(space).index), "ties: fewer datasets, then dataset order"
    assert result.complete or result.evaluations == budget
    assert all(step.mixture in space for step in result.trajectory)
    assert strategy.search(objective, space, budget, seed) == result
    unlimited = strategy.search(objective, space, None, seed)
    assert unlimited.complete
    assert unlimited.trajectory[: result.evaluations] == result.trajectory, "a budget only cuts the way short"


def test_exhaustive_tries_everything_small_first() -> None:
    asked = Counted(additive(dict.fromkeys(NAMES, 1.0)))
    result = Exhaustive().search(Objective(asked, True), Subsets("abc"))
    assert asked.asked == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    assert (result.best.label, result.value, result.evaluations, result.complete) == ("a+b+c", 3.0, 7, True)
    assert Exhaustive().search(Objective(asked, False), Subsets("abc")).best.label == "a"


@given(st.integers(0, 10_000))
def test_random_draws_without_replacement_and_ends_with_the_space(seed: int) -> None:
    asked = Counted(additive(dict.fromkeys(NAMES, 1.0)))
    result = RandomSearch().search(Objective(asked, True), Subsets("abcd"), None, seed)
    assert sorted(asked.asked) == sorted(mixture.label for mixture in Subsets("abcd"))
    assert result.complete


def test_random_orders_depend_on_the_seed_and_fit_huge_spaces() -> None:
    names = tuple(f"d{i}" for i in range(100))
    objective = Objective(lambda mixture: float(len(mixture.members)), True)
    runs = [RandomSearch().search(objective, Subsets(names), 30, seed) for seed in (0, 1)]
    assert runs[0].trajectory != runs[1].trajectory
    assert all(30 < len(step.mixture.members) < 70 for step in runs[0].trajectory)  # 50 ± 4 σ of 5


@pytest.mark.parametrize("strategy", [Greedy(), Greedy("backward")])
@given(st.lists(st.integers(-8, 8), min_size=6, max_size=6), st.integers(1, 6), st.integers(0, 5))
def test_greedy_is_exact_where_gains_add_up(
    strategy: Greedy, gains: list[int], largest: int, inside: int
) -> None:
    objective = Objective(additive(dict(zip(NAMES, map(float, gains), strict=True))), True)
    space = Subsets(NAMES, 1, largest, include=NAMES[inside])
    assert strategy.search(objective, space).value == Exhaustive().search(objective, space).value


def test_forward_goes_on_through_worse_subsets() -> None:
    """Two far experts whose mean is the goal: every pair but one is worse than the near single one."""
    taus = {"near": (0.5, 0.0), "left": (-9.0, 0.0), "right": (9.0, 0.0), "up": (0.0, 70.0)}
    objective = Objective(loss_at_mean(taus, (0.0, 0.0)), False)
    space = Subsets(tuple(taus))
    assert Greedy(swaps=False).search(objective, space).best.label == "near+left+right"
    assert Greedy().search(objective, space).best.label == "left+right", "found by dropping a member"
    assert Exhaustive().search(objective, space).best.label == "left+right"


def test_a_walk_costs_n_n_plus_one_over_two() -> None:
    objective = Objective(additive(dict.fromkeys(NAMES, 1.0)), True)
    for direction in ("forward", "backward"):
        result = Greedy(direction, swaps=False).search(objective, Subsets(NAMES))
        assert result.evaluations == 6 * 7 // 2


def test_search_by_name() -> None:
    objective = Objective(additive(dict(zip(NAMES, range(6), strict=True))), True)
    for name in ENDING:
        assert search(objective, Subsets(NAMES), name).best.members == NAMES[1:]
    assert search(objective, Subsets(NAMES), Greedy(), budget=3).evaluations == 3
    with pytest.raises(ConfigError, match="no search strategy 'magic'; there are"):
        search(objective, Subsets(NAMES), "magic")


def test_bad_budgets_and_values_are_refused() -> None:
    objective = Objective(lambda mixture: float("nan"), True)
    with pytest.raises(InputError, match="budget of at least one evaluation, got 0"):
        search(objective, Subsets("ab"), budget=0)
    with pytest.raises(InputError, match="the objective of a is nan"):
        search(objective, Subsets("ab"))


def test_groups_go_together() -> None:
    space = Subsets("abcd", groups=["ac"])
    assert [subset.label for subset in space] == ["a+c", "b", "d", "a+b+c", "a+c+d", "b+d", "a+b+c+d"]
    objective = Objective(additive({"a": 3.0, "b": -1.0, "c": -2.5, "d": 0.2}), True)
    for name in ENDING:
        assert search(objective, space, name).best.label == "a+c+d"


@pytest.mark.parametrize(
    ("groups", "said"), [(["ax"], "unknown datasets"), (["ab", "bc"], "more than one group")]
)
def test_groups_that_cannot_be_are_refused(groups: list[str], said: str) -> None:
    with pytest.raises(MixtureError, match=said):
        Subsets("abc", groups=groups)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_optuna_keeps_a_study_for_its_dashboard(sampler: Literal["tpe", "cmaes"], tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    objective = Objective(additive(dict(zip(NAMES, (1.0, -2.0, 3.0, -1.0, 0.5, -0.5), strict=True))), True)
    space = Subsets(NAMES, largest=4)
    strategy = OptunaStudy(sampler, tmp_path / "study.sqlite")
    result = strategy.search(objective, space, 5, seed=3)
    assert all(step.mixture in space for step in result.trajectory)
    [study] = optuna.study.get_all_study_summaries(f"sqlite:///{tmp_path / 'study.sqlite'}")
    assert study.best_trial.value == -result.value
    assert study.best_trial.user_attrs["mixture"] == result.best.label


def test_the_model_needs_fewer_evaluations_than_greedy_or_chance() -> None:
    """‖goal − mean τ‖² over 2^12 subsets, each strategy with 60 evaluations."""
    regret: dict[str, list[float]] = {"model": [], "greedy": [], "random": []}
    names = tuple(f"d{i}" for i in range(12))
    for seed in range(2):
        random = Random(seed)
        taus = {name: tuple(random.gauss(0, 1) for _ in range(24)) for name in names}
        goal = tuple(sum(taus[name][i] for name in names[:4]) / 4 for i in range(24))
        objective = Objective(loss_at_mean(taus, goal), False)  # the optimum is 0, at the first four
        for name, regrets in regret.items():
            regrets.append(search(objective, Subsets(names), name, 60, seed).value)
    assert max(regret["model"]) < 1e-9
    assert sum(regret["greedy"]) > 0
    assert min(regret["random"]) > 0.1


def test_a_studys_own_file_is_an_output(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    objective = Objective(lambda mixture: mixture.weights[0], higher_is_better=True)
    for place in ("notes.txt", "no/where.sqlite"):
        with pytest.raises(InputError, match=place):
            m2m.search(objective, Subsets("abc"), OptunaStudy("tpe", tmp_path / place), budget=3)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
