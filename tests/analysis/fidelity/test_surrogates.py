"""Surrogates that need no merging: laws at single datasets and beyond, weights, and what is missing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fidelity import Points, free_surrogates
from analysis.fidelity.surrogates import Contest, members_of
from m2m.errors import InputError

SUBSETS = tuple(names for k in (1, 2, 3) for names in combinations("abc", k))
SCORES = st.lists(st.integers(-50, 50), min_size=len(SUBSETS), max_size=len(SUBSETS))


def points(merged: list[float], *, higher: bool = True, **changes: object) -> Points:
    scores = np.asarray(merged, dtype=float)
    given = {
        "labels": tuple("+".join(names) for names in SUBSETS), "members": SUBSETS, "trained": scores[::-1],
        "again": np.full(len(scores), np.nan),
    } | changes  # fmt: skip
    return Points("t", "m", higher, merged=scores, **given)  # type: ignore[arg-type]


def test_by_hand() -> None:
    found = free_surrogates(points([1, 2, 6, 10, 11, 12, 13]), similarity={"a": 0.1, "b": 0.2, "c": 0.6})
    assert found["best_member"].tolist() == [1, 2, 6, 2, 6, 6, 6]
    assert found["mean_of_members"].tolist() == [1, 2, 6, 1.5, 3.5, 4, 3]
    assert found["half_and_half"].tolist() == [1, 2, 6, 6, 8.5, 9, 9.5]
    assert found["size"].tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert found["similarity"] == pytest.approx([0.1, 0.2, 0.6, 0.15, 0.35, 0.4, 0.3])
    assert "weighted_mean" not in found


@given(scores=SCORES, higher=st.booleans())
def test_at_single_datasets_all_that_is_made_of_scores_agrees_to_the_bit(
    scores: list[int], higher: bool
) -> None:
    values = [0.1 * score for score in scores]
    found = free_surrogates(points(values, higher=higher))
    for name in ("merged", "best_member", "mean_of_members", "half_and_half"):
        assert found[name][:3].tolist() == values[:3]


@given(scores=SCORES, higher=st.booleans())
def test_the_best_member_is_at_least_the_mean_and_more_members_never_worsen_it(
    scores: list[int], higher: bool
) -> None:
    sign = 1.0 if higher else -1.0
    found = {name: sign * values for name, values in free_surrogates(points(scores, higher=higher)).items()}
    assert np.all(found["best_member"] >= found["mean_of_members"] - 1e-12 * 50)
    best = dict(zip(SUBSETS, found["best_member"], strict=True))
    assert all(best[few] <= best[more] for few in SUBSETS for more in SUBSETS if {*few} <= {*more})


@given(scores=SCORES)
def test_a_loss_is_the_same_upside_down(scores: list[int]) -> None:
    up, down = free_surrogates(points(scores)), free_surrogates(points([-s for s in scores], higher=False))
    assert all(np.array_equal(up[name], -down[name]) for name in up)


@given(order=st.permutations(range(len(SUBSETS))), scores=SCORES)
def test_the_order_of_the_mixtures_does_not_matter(order: list[int], scores: list[int]) -> None:
    plain = free_surrogates(points(scores))
    turned = free_surrogates(
        points(
            [scores[i] for i in order],
            labels=tuple("+".join(SUBSETS[i]) for i in order),
            members=tuple(SUBSETS[i] for i in order),
        )
    )
    for name, values in plain.items():
        assert turned[name] == pytest.approx(values[list(order)])


def test_weights_come_from_labels_or_are_given() -> None:
    labels = ("a", "b", "c", "a=0.25+b=0.75", "a+c", "b+c", "a+b+c")
    merged = [0.0, 4, 8, 1, 1, 1, 1]
    found = free_surrogates(points(merged, labels=labels))
    assert found["weighted_mean"].tolist() == pytest.approx([0, 4, 8, 3, 4, 6, 4])
    assert found["mean_of_members"].tolist() == [0, 4, 8, 2, 4, 6, 4]
    weights = members_of(points(merged, labels=labels)).weights
    again = free_surrogates(points(merged), weights=weights)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    # A name that looks like weights, and is none, is a name.
    assert "weighted_mean" not in free_surrogates(points(merged, labels=(*labels[:3], "x=y", *labels[4:])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": None}, "the datasets of each mixture are not known; give members"),
        (
            {"members": (("a",), ("b",), ("a", "c"), *SUBSETS[3:])},
            "expert of 'c' has no scores; add the row",
        ),
        ({"members": (("a",), ("b",), ("b",), *SUBSETS[3:])}, "'b' alone occurs 2 times; wanted one row"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        free_surrogates(points([0.0] * 7, **changes))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((2, 3)), r"wanted shape \[7, 3\] \[n, N\], got \[2, 3\]"),
        (np.full((7, 3), np.nan), "wanted finite numbers, none below zero"),
        (np.ones((7, 3)), "mixture 1 has weights above zero for other datasets than its members"),
    ],
)
def test_wrong_weights(weights: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        free_surrogates(points([0.0] * 7), weights=weights)


def test_leaving_examples_out_leaves_them_out_everywhere() -> None:
    rng = np.random.default_rng(0)
    merged, trained = rng.normal(size=(2, 7, 5))
    asked = points(list(merged.mean(axis=1)), trained=trained.mean(axis=1), examples=((merged, trained),))
    redrawn = Contest.of(asked, members_of(asked)).without_examples()
    assert redrawn is not None
    gains, truth = redrawn
    for left_out in range(5):
        kept = np.arange(5) != left_out
        part = free_surrogates(points(list(merged[:, kept].mean(axis=1))))
        assert truth[left_out] == pytest.approx(trained[:, kept].mean(axis=1))
        assert all(gains[name][left_out] == pytest.approx(part[name]) for name in part)
    assert Contest.of(points([0.0] * 7), members_of(points([0.0] * 7))).without_examples() is None
