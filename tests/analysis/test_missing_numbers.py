"""Scores that leave little to say: every number that is not there has its reason, and nothing warns."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.missing_numbers import unexplained

from analysis.fidelity import intervals
from analysis.fidelity.scores import Points
from analysis.fidelity.study import study, write
from analysis.results import UNDEFINED, UNFORESEEN, explained, explained_table
from m2m.errors import InputError
from m2m.support.arrays import Floats, range_fault
from paper_figs.merge_to_mix.scatter import draw

SUBSETS = tuple(tuple(name for k, name in enumerate("abcd") if row >> k & 1) for row in range(1, 16))
X = np.random.default_rng(0).normal(size=15)
Y = X + 0.3 * np.random.default_rng(1).normal(size=15)


def points(name: str, merged: Any, trained: Any, again: Any = None) -> Points:
    merged, trained = np.asarray(merged, float), np.asarray(trained, float)
    second = np.full(len(merged), math.nan) if again is None else np.asarray(again, float)
    labels = tuple(f"m{row}" for row in range(len(merged)))
    members = SUBSETS if len(merged) == len(SUBSETS) else None
    return Points(name, "m", True, labels, members, merged, trained, second)


def at(row: int, value: float, scores: Floats) -> Floats:
    return np.where(np.arange(len(scores)) == row, value, scores)


CASES: dict[str, list[Points]] = {
    "merged scores equal": [points("t", np.ones(15), Y)],
    "trained scores equal": [points("t", X, np.ones(15))],
    "all scores equal": [points("t", np.ones(15), np.ones(15), np.ones(15))],
    "one mixture": [points("t", [1], [2], [2])],
    "two mixtures": [points("t", [1, 2], [2, 3], [2, 3])],
    "three mixtures": [points("t", [1, 2, 4], [2, 3, 3.5], [2, 3, 3.6])],
    "four mixtures": [points("t", [1, 2, 4, 3], [2, 3, 3.5, 2])],
    "tied scores": [points("t", np.round(X), np.round(Y), np.round(Y))],
    "right or wrong": [points("t", X > 0, Y > 0, Y > 0.1)],
    "two identical seeds": [points("t", X, Y, Y), points("u", Y, X, X)],
    "merged is trained": [points("t", X, X, X)],
    "an exact line": [points("t", X, 2 * X + 1), points("u", X, 3 * X)],
    "huge": [points("t", 1e149 * X, 1e149 * Y, 1e149 * Y[::-1])],
    "huge beside plain": [points("t", 1e149 * X, 1e149 * Y), points("u", X, Y)],
    "tiny": [points("t", 1e-149 * X, 1e-149 * Y, 1e-149 * Y[::-1])],
    "tiny beside plain": [points("t", 1e-149 * X, 1e-149 * Y), points("u", X, Y, Y[::-1])],
    "one far off": [points("t", at(0, 1e140, X), at(0, 1e140, Y))],
    "an ulp apart": [points("t", np.where(X > 0, 0.3, 0.1 + 0.2), np.where(Y > 0, 0.3, 0.1 + 0.2))],
    "no number": [points("t", at(3, math.nan, X), Y)],
    "infinite": [points("t", at(3, math.inf, X), at(2, -math.inf, Y), at(2, -math.inf, Y))],
    "two of a second seed": [points("t", X, Y, np.where(np.arange(15) < 2, Y, math.nan))],
    "five of a second seed": [points("t", X, Y, np.where(np.arange(15) < 5, Y + 0.1 * X, math.nan))],
    "good beside bad": [points("t", np.ones(15), Y), points("u", X, Y), points("v", [1, 2], [3, 4])],
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_had_is_said(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 99)
    write(study(CASES[case]), tmp_path, {})
    assert unexplained(tmp_path) == []
    draw(tmp_path, tmp_path)
    assert not any(word in (tmp_path / "fidelity_scatter.svg").read_text() for word in (">nan<", ">inf<"))


@pytest.mark.parametrize("side", ["merged", "trained", "again"])
@pytest.mark.parametrize(
    ("scale", "words"), [(1e300, "wanted at most 1e+150 in size"), (1e-300, "give them in a smaller unit")]
)
def test_scores_whose_squares_are_no_numbers_are_refused(side: str, scale: float, words: str) -> None:
    given = {"merged": X, "trained": Y, "again": Y}
    given[side] = given[side] * scale
    with pytest.raises(InputError, match="target 't': ") as refused:
        points("t", *given.values())
    assert words in str(refused.value)


def test_scores_whose_difference_overflows_are_refused_without_a_warning() -> None:
    assert range_fault(np.array([1.7e308, -1.7e308])) == "a score is 1.7e+308; wanted at most 1e+150 in size"


def test_a_reason_stands_beside_its_field() -> None:
    content = {
        "gamma": np.array([[1.0, math.nan]]),
        "known": {"value": None, "low": math.inf, "reason": "too few"},
        "asked": None,
        "deep": [{"surprise": math.inf}],
    }
    assert explained(content, {"gamma": "not bent", "asked": "not asked for", "other": "…"}) == {
        "gamma": [[1.0, None]],
        "known": {"value": None, "low": None, "reason": "too few"},
        "asked": None,
        "deep": [{"surprise": None}],
        UNDEFINED: {"gamma": "not bent", "asked": "not asked for", "surprise": UNFORESEEN},
    }
    assert explained({"x": 1.0, "none": None}, {"x": "…"}) == {"x": 1.0, "none": None}
    by_key = {"reach": {"2": None, "4": 1.0}}
    assert explained(by_key, {"reach": "nowhere"}) == {**by_key, UNDEFINED: {"reach": "nowhere"}}


def test_a_table_has_a_column_for_reasons() -> None:
    frame = pd.DataFrame({"a": [1.0, math.nan, -math.inf], "b": [True, None, False], "c": ["x", None, "y"]})
    found = explained_table(frame, {"b": "not asked", "z": "…"})
    assert found[UNDEFINED].tolist() == ["", f"a: {UNFORESEEN}; b: not asked", f"a: {UNFORESEEN}"]
    assert found["a"].isna().tolist() == [False, True, True]
    whole = pd.DataFrame({"a": [1.0], "n": [3]})
    assert explained_table(whole, {"z": "…"}) is whole
    assert explained_table(whole, {"a": "…"})[UNDEFINED].tolist() == [""]


def test_a_row_with_its_own_reason_says_it_once() -> None:
    frame = pd.DataFrame({"low": [math.nan, math.nan], "reason": ["constant", ""]})
    assert explained_table(frame, {"low": "no test"})[UNDEFINED].tolist() == ["", "low: no test"]


def test_folders_with_gaps_are_found(tmp_path: Path) -> None:
    """The law above can fail."""
    (tmp_path / "x.json").write_text(json.dumps({"a": None, "b": {"c": [1, None]}, UNDEFINED: {"a": "…"}}))
    (tmp_path / "x.csv").write_text("a,b,undefined\n,inf,\n,1,a: because\n")
    assert unexplained(tmp_path) == ["x.json: b.c", "x.csv: a is empty", "x.csv: b is inf"]
    (tmp_path / "x.json").write_text('{"a": NaN}')
    with pytest.raises(AssertionError, match="NaN"):
        unexplained(tmp_path)
