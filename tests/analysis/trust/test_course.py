"""Trainings as a run decides on them: half by chance whatever the scores say, half contenders, resumable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.trust_landscapes import scores

from analysis.trust import Landscape, Planned
from analysis.trust.adviser import landscapes_of
from analysis.trust.course import judged, next_round, verdict
from m2m.errors import InputError
from m2m.mixture import all_subsets
from m2m.pipeline.advice import Evidence, Known, Training

SUBSETS = tuple(all_subsets("abcd"))
MERGED, TRUTH = scores(0)


def seen(before: list[Planned], truth: np.ndarray = TRUTH, given: tuple[int, ...] = ()) -> Landscape:
    """Show what was trained; singles are."""
    trained, purposes = np.full(15, np.nan), [""] * 15
    for one in before:
        trained[one.row], purposes[one.row] = truth[one.row], one.purpose
    for row in [*given, *(one.row for one in before if one.purpose == "random")]:
        trained[row], purposes[row] = truth[row], "random"
    return Landscape(SUBSETS, MERGED, trained[None], purposes=tuple(purposes))


def course(most: int, truth: np.ndarray = TRUTH, given: tuple[int, ...] = (), seed: int = 0) -> list[Planned]:
    """Train until so many are paid, or none is left."""
    before: list[Planned] = []
    while (left := most - sum(not one.trained for one in before)) > 0:
        planned = next_round([seen(before, truth, given)], before, left, given, seed=seed).planned
        if not planned:
            break
        before += planned
    return before


def sample(before: list[Planned]) -> list[int]:
    return [one.row for one in before if one.purpose == "random"]


def test_more_trainings_go_on_where_fewer_ended() -> None:
    longest = course(7)
    assert [not one.trained for one in longest].count(True) == 7
    for most in (1, 2, 3, 6):
        shorter = course(most)
        # One that stops within a round has made its first training.
        assert shorter == longest[: len(shorter)]
        assert sum(not one.trained for one in shorter) == most
        assert len(sample(shorter)) == (most + 1) // 2


def test_chance_does_not_look_at_scores() -> None:
    other = course(6, truth=-TRUTH)
    assert sample(other) == sample(course(6))
    assert {one.row for one in other} != {one.row for one in course(6)}
    firsts = [next_round([seen([])], [], 1, seed=seed).planned[0].row for seed in range(600)]
    counts = np.bincount(firsts, minlength=15)
    assert (counts[:4] == 0).all()
    # 600 draws of 1 of 11: each 55 times, with a standard deviation of 7.
    assert np.abs(counts[4:] - 600 / 11).max() < 5 * 7


def test_what_was_drawn_beforehand_begins_the_sample_and_costs_nothing() -> None:
    first = next(one.row for one in course(1))
    given = course(5, given=(first,))
    assert first not in sample(given)
    assert len(sample(given)) == 3
    assert sum(not one.trained for one in given) == 5


def test_a_contender_that_is_drawn_later_is_free() -> None:
    before = course(11)
    assert {one.row for one in before} == set(range(4, 15))
    assert all(one.purpose == "random" for one in before if one.trained)
    assert any(one.trained for one in before)
    # Nothing is left: all are trained.
    assert next_round([seen(before)], before, None).planned == ()


def test_before_there_is_a_belief_the_contender_is_the_best_merged() -> None:
    drawn, contender = next_round([seen([])], [], 2).planned
    assert (drawn.purpose, contender.purpose) == ("random", "top")
    left = [row for row in range(4, 15) if row != drawn.row]
    assert contender.row == max(left, key=lambda row: MERGED[row])
    assert next_round([seen([])], [], 2).probability is None


def test_the_verdict_is_on_the_best_that_was_trained() -> None:
    found = judged([seen(course(6, given=(5,)), given=(5,))])
    said = verdict(found)
    landscape = found.by["all"].belief.landscape
    assert said["pick"]["mixture"] == list(SUBSETS[landscape.best(landscape.measured)].members)
    assert 0 <= said["pick"]["regret"] <= said["pick"]["limit"]
    assert (said["trained"], said["mixtures"], said["pearson"]["n"]) == (7, 11, 4)
    assert said["next"]["row"] in np.flatnonzero(np.isnan(landscape.measured))
    with pytest.raises(
        InputError, match="it takes 2 trained mixtures of two or more datasets, and there is 1"
    ):
        judged([seen(course(1))])


def known(datasets: int) -> Known:
    mixtures = all_subsets([f"d{number}" for number in range(datasets)])
    merged = {mixture: float(len(mixture.members)) for mixture in mixtures}
    merged |= {mixtures[0]: -9.0}
    evidence = Evidence("t", "accuracy", True, merged, {mixtures[-1].label: 1.0})
    drawn = Training(mixtures[-1], "random", free=True)
    return Known([evidence], [], [drawn, Training(mixtures[-1], "next")], 0.05, 0)


def test_a_run_of_too_many_mixtures_is_believed_in_as_far_as_its_best_go() -> None:
    [landscape] = landscapes_of(known(12))
    assert len(landscape.mixtures) == 2047
    assert landscape.several.sum() == 2047 - 12  # all single datasets stay, the worst among them
    sizes = [len(mixture.members) for mixture in landscape.mixtures]
    assert sizes == sorted(sizes)
    assert min(size for size in sizes if size > 1) == 6


def test_what_was_drawn_by_chance_counts_so_whatever_else_it_was_trained_for() -> None:
    [landscape] = landscapes_of(known(3))
    assert landscape.purposes[-1] == "random"
    assert landscape.trained[0, -1] == 1.0


def test_a_target_without_preference_teaches_nothing_and_cannot_be_judged() -> None:
    about = known(3)
    flat = replace(about.evidence[0], target="flat", merged=dict.fromkeys(about.evidence[0].merged, 1.0))
    assert len(landscapes_of(replace(about, evidence=[*about.evidence, flat]))) == 1
    with pytest.raises(InputError, match="merging prefers no mixture"):
        landscapes_of(replace(about, evidence=[flat, *about.evidence]))
