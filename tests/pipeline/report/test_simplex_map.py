"""The map of mixtures: places of their own, shares as distances, and no map where there is none."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from m2m.mixture import all_subsets
from m2m.pipeline.report.simplex import Placed, simplex


def placed(count: int) -> list[Placed]:
    subsets = all_subsets("abcd"[:count])
    return [Placed(mixture.shares, float(n), mixture.label) for n, mixture in enumerate(subsets)]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_subset_has_a_place_that_can_be_pointed_at(count: int) -> None:
    chart = simplex("abcd"[:count], placed(count), "loss", upwards=False)
    assert chart is not None
    [dots] = [trace for trace in chart["data"] if trace["mode"] == "markers"]
    places = list(zip(dots["x"], dots["y"], strict=True))
    assert len(places) == 2**count - 1
    # Dots of 12 pixels on a map of 300 are told apart from 0.05 on.
    assert min(math.dist(*pair) for pair in combinations(places, 2)) > 0.1
    assert dots["customdata"] == [one.text for one in placed(count)]


def test_the_pick_is_drawn_above_the_rest_and_named() -> None:
    pick = Placed({"a": 0.5, "b": 0.5}, 9.0, "a + b", "λ*")
    chart = simplex("ab", [pick, *placed(2)], "utility", upwards=True)
    assert chart is not None
    assert [trace.get("name") for trace in chart["data"]][-2:] == ["mixtures", "λ*"]
    assert chart["data"][-1]["x"] == [0.5]


@pytest.mark.parametrize(("names", "some"), [("a", True), ("abcde", True), ("ab", False)])
def test_no_map(names: str, some: bool) -> None:
    points = [Placed({"a": 1.0}, 0.0, "a")] if some else []
    assert simplex(names, points, "loss", upwards=False) is None
