"""What is asked of scores: no target is passed over, no advantage is lost that was not there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis.fidelity import intervals, study
from analysis.fidelity.scores import Points
from analysis.validate import CLAIMS, judge, resampling
from analysis.validate.evidence import of_study, paired
from analysis.validate.grid import Grid
from analysis.validate.trainings import Ablation, Trainings, of_trainings
from analysis.validate.verdict import Evidence
from m2m.mixture import all_subsets

SUBSETS = [c for size in range(1, 5) for c in itertools.combinations("abcd", size)]
CLAIM = {claim.name: claim for claim in CLAIMS}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (intervals, resampling):
        monkeypatch.setattr(room, "RESAMPLES", 199)


def points(name: str, merged: np.ndarray, trained: np.ndarray) -> Points:
    """Return scores with a second seed and single examples: without them four datasets have no interval."""
    rng, labels = np.random.default_rng(9), tuple("+".join(names) for names in SUBSETS)
    again = trained + 0.05 * rng.normal(size=15)
    first, second = 0.1 * rng.normal(size=(2, 15, 20))
    examples = ((merged[:, None] + first, trained[:, None] + second),)
    return Points(name, "acc", True, labels, tuple(SUBSETS), merged, trained, again, examples=examples)


def targets(*broken: Points) -> dict[str, Evidence]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=15)
    good = [points(f"t{i}", x + 0.1 * rng.normal(size=15), x + 0.1 * rng.normal(size=15)) for i in range(3)]
    return of_study(study([*good, *broken]))


@pytest.mark.parametrize("hole", [np.full(15, 0.1), np.where(np.arange(15) == 7, np.nan, np.arange(15.0))])
def test_a_target_without_correlation_may_be_the_broken_one(hole: np.ndarray) -> None:
    found = targets(points("bad", hole, np.random.default_rng(1).normal(size=15)))["no_breakdown"]
    verdict = judge("run", CLAIM["no_breakdown"], found)
    assert verdict.outcome == "unresolved"
    assert verdict.reason.startswith("target bad: ")
    assert judge("run", CLAIM["no_breakdown"], targets()["no_breakdown"]).outcome == "holds"


def test_the_weakest_target_is_not_blamed_for_being_the_lowest_of_many() -> None:
    rng = np.random.default_rng(3)
    alone = targets(points("odd", *rng.normal(size=(2, 15))))["no_breakdown"]
    others = [points(f"u{i}", np.arange(15.0), np.arange(15.0) + rng.normal(size=15)) for i in range(5)]
    many = targets(points("odd", *np.random.default_rng(3).normal(size=(2, 15))), *others)
    wide = many["no_breakdown"]
    assert wide.value == pytest.approx(alone.value)
    assert wide.low == pytest.approx(alone.low)
    assert alone.high < wide.high <= 1
    assert (alone.n, wide.n) == (4, 9)


def test_correlations_are_those_of_mixtures() -> None:
    rng = np.random.default_rng(4)
    merged, trained = rng.normal(size=(2, 15))
    merged[:4] = trained[:4] = 10 * np.arange(4)  # single datasets, whose merged model is the trained one
    found = of_study(study([points("t", merged, trained)]))
    assert found["correlates"].value == pytest.approx(np.corrcoef(merged[4:], trained[4:])[0, 1])
    assert found["correlates"].n == 11


def test_merging_is_held_against_what_its_experts_say_unmerged() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(3, 4))
    best = np.array([[v[["abcd".index(name) for name in names]].max() for names in SUBSETS] for v in values])
    truth = best + [len(names) > 1 for names in SUBSETS] * rng.normal(size=(3, 15))
    better = of_study(study([points(f"t{i}", row, row) for i, row in enumerate(truth)]))
    same = of_study(study([points(f"t{i}", best[i], row) for i, row in enumerate(truth)]))
    assert better["beats_best_member"].value > 0.1
    assert better["picks_better_than_best_member"].value > 0
    for claim in ("beats_best_member", "picks_better_than_best_member"):
        assert same[claim].value == pytest.approx(0, abs=1e-12)
        assert judge("run", CLAIM[claim], same[claim]).outcome == "unresolved"
    assert better["picks_better_than_mean_of_members"].n == 4  # three pairs and a triple


def test_a_pick_beside_itself_is_no_evidence() -> None:
    found = paired([np.zeros(9)], "a+b", "a+b")
    verdict = judge("run", CLAIM["beats_all"], found)
    assert (verdict.outcome, verdict.p) == ("unresolved", None)
    assert verdict.reason == "the pick is the same mixture, a+b"
    assert paired([np.arange(9.0)], "a", "b").condition.startswith("one training of each model")


@pytest.mark.parametrize("sign", [1, -1])
def test_only_an_advantage_can_be_lost(sign: int) -> None:
    rng = np.random.default_rng(5)
    trained = -1 + 0.1 * rng.standard_normal((2, 7))
    merged = trained + sign * 0.5 + 0.05 * rng.standard_normal((2, 7))
    grid = Grid(("t", "u"), tuple(all_subsets("abc")), np.zeros(2), merged, trained)
    ablation = Ablation("none", (1, 1, 1), merged, Evidence(None, None, None, 0, "", ""))
    done = Trainings(trained, trained, merged - 2, (ablation,), merged)
    found = of_trainings(grid, done, 0)["rescaled_lose_resistance"]
    verdict = judge("run", CLAIM["rescaled_lose_resistance"], found)
    assert found.value == pytest.approx(2)
    if sign > 0:
        assert verdict.outcome == "holds"
    else:
        assert (verdict.outcome, verdict.reason[:31]) == ("unresolved", "there is no advantage to lose: ")
