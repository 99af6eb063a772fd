from __future__ import annotations

from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import MixtureError
from m2m.mixture import Mixture, all_subsets
from m2m.searching import Subsets

NAMES = "abcdefg"


@st.composite
def spaces(draw: st.DrawFn) -> tuple[Subsets, dict[str, Any]]:
    names = NAMES[: draw(st.integers(1, 6))]
    role = {name: draw(st.sampled_from(["free", "free", "free", "in", "out"])) for name in names}
    forced = [name for name in names if role[name] == "in"]
    out = [name for name in names if role[name] == "out"]
    most = len(names) - len(out)
    if not most:
        out, most = [], len(names)
    smallest = draw(st.integers(1, most))
    largest = draw(st.one_of(st.none(), st.integers(max(smallest, len(forced)), most)))
    limits = {"smallest": smallest, "largest": largest, "include": forced, "exclude": out}
    return Subsets(names, **limits), limits


@given(spaces())
def test_a_space_is_what_its_limits_say(drawn: tuple[Subsets, dict[str, Any]]) -> None:
    space, limits = drawn
    wanted = [
        subset
        for subset in all_subsets(space.datasets)
        if set(limits["include"]) <= set(subset.members)
        and not set(limits["exclude"]) & set(subset.members)
        and limits["smallest"] <= len(subset.members) <= (limits["largest"] or len(space.datasets))
    ]
    assert list(space) == wanted
    assert space.count == len(wanted)
    assert [space.at(number) for number in range(space.count)] == wanted
    assert [subset for subset in all_subsets(space.datasets) if subset in space] == wanted


@given(spaces())
def test_moves_are_the_subsets_one_step_away(drawn: tuple[Subsets, dict[str, Any]]) -> None:
    space, _ = drawn
    inside = list(space)
    for here in inside:
        members = set(here.members)
        assert space.larger(here) == [
            s for s in inside if members < set(s.members) and len(s.members) == len(members) + 1
        ]
        assert set(space.smaller(here)) == {
            s for s in inside if set(s.members) < members and len(s.members) == len(members) - 1
        }
        one_off = {s for s in inside if len(s.members) == len(members) and len(set(s.members) - members) == 1}
        assert len(space.swapped(here)) == len(one_off)
        assert set(space.swapped(here)) == one_off


def test_a_hundred_datasets_are_numbered_without_a_walk() -> None:
    names = [f"d{i}" for i in range(100)]
    space = Subsets(names)
    assert space.count == 2**100 - 1
    assert space.at(space.count - 1).members == tuple(names)
    assert space.at(99).members == ("d99",)
    assert space.at(100).members == ("d0", "d1")


def test_samples_are_uniform() -> None:
    space, random = Subsets("abcd", largest=3, exclude="d"), Random(0)
    draws = [space.sample(random) for _ in range(7000)]
    counts = [draws.count(subset) for subset in space]
    # Binomial(7000, 1/7): mean 1000, σ = √(7000·6/49) = 29.3; five σ, seven cells, fixed seed
    assert len(counts) == 7
    assert all(abs(count - 1000) < 5 * 29.3 for count in counts)


def test_mixtures_that_are_no_subset_are_outside() -> None:
    space = Subsets("abc")
    assert Mixture(("a", "b", "c"), (0.2, 0.8, 0.0)) not in space
    assert Mixture.subset("ab", "a") not in space


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"include": ["x"]}, r"unknown datasets \['x'\]; there are \['a', 'b', 'c'\]"),
        ({"include": "a", "exclude": "a"}, r"\['a'\] are both forced in and forced out"),
        ({"smallest": 4}, r"no subset fits: smallest 4, largest None, of 3 datasets"),
        ({"smallest": 2, "largest": 1}, "no subset fits"),
        ({"include": "ab", "largest": 1}, r"no subset fits.* with \['a', 'b'\] forced in"),
        ({"exclude": "abc"}, r"no subset fits.* \['a', 'b', 'c'\] forced out"),
    ],
)
def test_limits_that_nothing_meets_are_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(MixtureError, match=message):
        Subsets("abc", **limits)
    with pytest.raises(IndexError, match="subset 7 of 7"):
        Subsets("abc").at(7)


def test_the_order_is_that_of_combinations() -> None:
    pairs = [subset.members for subset in Subsets(NAMES, 2, 2)]
    assert pairs == list(combinations(NAMES, 2))
