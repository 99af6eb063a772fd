"""More datasets than can be enumerated, tried on five: what searches find is the truth once they try all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.many_datasets import many_of
from helpers.subset_truth import place_of

from analysis.papers.experiment import finish
from analysis.papers.questions.hunting import STRATEGIES, Budget, Hunted, Search, Tried
from analysis.papers.questions.picks import curves, picks_of, regret
from m2m.mixture import Mixture
from paper_figs.questions import many
from paper_figs.tables import result

NAMES = ("a", "b", "c")


def tried(*pairs: tuple[str, float]) -> Tried:
    mixtures = tuple(Mixture.parse(label, NAMES) for label, _ in pairs)
    return Tried(mixtures, np.array([gain for _, gain in pairs]))


def hunt_of(budget: Budget) -> Hunted:
    """Return searches of which greedy ended early and the long one found what no other did."""
    of_strategy = {
        "model": tried(("a", 1.0), ("a+b", 3.0)),
        "greedy": tried(("a", 1.0)),
        "annealing": tried(("b", 2.0), ("b+c", 0.0)),
        "random": tried(("a+b+c", 0.0), ("b", 2.0)),
    }
    found = {search: of_strategy[search.strategy] for search in budget.searches}
    return Hunted(-2.0, found | {budget.longest: tried(("c", 0.5), ("a+c", 5.0))})


def test_regret_is_nothing_at_the_best_known_and_all_at_a_mean_random_subset() -> None:
    budget = Budget(2, 1)
    hunt = hunt_of(budget)
    assert hunt.best_known[1].label == "a+c"
    assert regret(hunt, np.array([5.0, 1.0, 3.0])).tolist() == [0.0, 1.0, 0.5]
    by_name = {curve["strategy"]: curve for curve in curves({"t": hunt}, budget)}
    assert by_name["model"]["mean"] == [1.0, 0.5]
    assert by_name["greedy"]["mean"] == [1.0, 1.0]  # it ended, and keeps its best
    assert by_name["longer"]["mean"][:2] == [1.125, 0.0]
    assert len(by_name["longer"]["mean"]) == 10


def test_each_way_picks_its_own_and_only_random_subsets_differ_between_seeds() -> None:
    budget = Budget(2, 1)
    picks = picks_of({"t": hunt_of(budget)}, budget, {"t": {"a": 0.9, "b": 0.1, "c": 0.8}}, range(1, 9))
    labels = {way: {m.label for m in by_target["t"]} for way, by_target in picks.items()}
    drawn = labels.pop("random_subset")
    assert len(drawn) > 1
    assert labels == {
        "model": {"a+b"}, "greedy": {"a"}, "random": {"b"}, "longer": {"a+c"},
        "best_single": {"b"}, "similarity": {"a+c"}, "all": {"a+b+c"},
    }  # fmt: skip


def test_chance_has_seeds_greedy_one_and_the_long_search_a_seed_of_its_own() -> None:
    budget = Budget(7, 3)
    assert [len(budget.of(name)) for name in STRATEGIES] == [3, 1, 3, 3]
    assert budget.longest == Search("model", 35, 3)
    assert len(set(budget.searches)) == 11


def test_a_search_of_all_mixtures_finds_the_best_and_a_second_call_the_same(tmp_path: Path) -> None:
    question, place = many_of(tmp_path), place_of("question_many", tmp_path / "out")
    found = question.measure(place, "fast").content
    assert found["sizes"]["targets"] == 3
    assert found["cost"]["mixtures"] == 31
    for curve in found["curves"]:
        assert (np.diff(curve["mean"]) <= 0).all()
        assert min(curve["low"]) >= 0
    [longest] = [curve for curve in found["curves"] if curve["strategy"] == "longer"]
    assert longest["high"][-1] == 0
    ways = found["ways"]
    assert ways["model"]["ahead"]["value"] == 0
    for way in ways.values():
        assert way["ahead"]["value"] == pytest.approx(ways["model"]["gain"] - way["gain"])
    finish(question, place, "fast")  # goes on from what is there
    kept = result(place.results.parent, question.name)
    assert {name: kept[name] for name in found} == json.loads(json.dumps(found))
    assert many.PART.tables is not None
    assert many.PART.draw is not None
    for table in many.PART.tables(place.results.parent):
        assert len({len(row) for row in table.rows}) == 1
    assert "a random subset (" in many.PART.caption(place.results.parent)
    assert {path.suffix for path in many.PART.draw(place.results.parent, tmp_path)} == {".png", ".svg"}
