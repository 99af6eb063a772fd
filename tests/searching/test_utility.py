from __future__ import annotations

from collections.abc import Mapping

import pytest

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.searching import Limit, Subsets, Utility, search

#: Code is an accuracy, chat a loss.
SCORES = {
    "a": {"code": 0.9, "chat": 5.0},
    "b": {"code": 0.2, "chat": 1.0},
    "c": {"code": 0.1, "chat": 4.0},
    "a+b": {"code": 0.6, "chat": 2.0},
    "a+c": {"code": 0.6, "chat": 4.5},
    "b+c": {"code": 0.2, "chat": 2.0},
    "a+b+c": {"code": 0.5, "chat": 2.5},
}
UPWARDS = {"code": True, "chat": False}


def utility(weights: Mapping[str, float], *limits: Limit) -> Utility:
    return Utility(lambda mixture: SCORES[mixture.label], weights, UPWARDS, limits)


def best(goal: Utility) -> str:
    result = search(goal.objective, Subsets("abc"))
    upwards = goal.objective.higher_is_better
    return (max if upwards else min)(
        goal.feasible(result.trajectory), key=lambda step: step.value
    ).mixture.label


def test_one_task_keeps_its_unit_and_direction() -> None:
    assert (best(utility({"code": 1})), best(utility({"chat": 1}))) == ("a", "b")
    goal = utility({"chat": 7})
    assert search(goal.objective, Subsets("abc")).value == 1.0
    assert not goal.objective.higher_is_better


def test_weights_trade() -> None:
    assert best(utility({"code": 1, "chat": 0.01})) == "a"
    assert best(utility({"code": 1, "chat": 0.2})) == "a+b"
    assert best(utility({"code": 0.1, "chat": 1})) == "b"


def test_limits_hold() -> None:
    assert best(utility({"code": 1}, Limit("chat", 2.5, at_least=False))) == "a+b"
    assert best(utility({"chat": 1}, Limit("code", 0.55, at_least=True))) == "a+b"
    with pytest.raises(InputError, match=r"none of 7 mixtures keeps .* chat<=0.5 \(got 1\): relax a limit"):
        best(utility({"code": 1}, Limit("chat", 0.5, at_least=False)))


def test_the_front_is_what_nothing_dominates() -> None:
    goal = utility({"code": 1, "chat": 1})
    search(goal.objective, Subsets("abc"))
    assert [mixture.label for mixture, _ in goal.front()] == ["a", "b", "a+b"]


def test_a_mixture_is_measured_once() -> None:
    asked: list[str] = []

    def scores(mixture: Mixture) -> Mapping[str, float]:
        asked.append(mixture.label)
        return SCORES[mixture.label]

    goal = Utility(scores, {"code": 1, "chat": 1}, UPWARDS, [Limit("chat", 3.0, at_least=False)])
    goal.feasible(search(goal.objective, Subsets("abc")).trajectory)
    goal.front()
    assert len(asked) == len(set(asked)) == 7


def test_weights_must_be_positive() -> None:
    for weights in ({}, {"code": 0.0}, {"code": -1.0}):
        with pytest.raises(InputError, match="positive weights"):
            utility(weights)
