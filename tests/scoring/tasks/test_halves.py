"""Items split by their hash: apart, whole, and the same wherever they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.function_scorer import FunctionScorer, HalfOfFunction
from m2m.scoring.tasks.halves import halves, some

ITEMS = st.lists(st.text(max_size=3), max_size=30)


@given(items=ITEMS)
def test_halves_are_apart_and_whole(items: list[str]) -> None:
    found = halves(items)
    assert sorted(found["validation"] + found["test"]) == list(range(len(items)))
    sides = [{items[at] for at in numbers} for numbers in found.values()]
    assert sides[0].isdisjoint(sides[1])


@given(items=ITEMS, more=ITEMS, data=st.data())
def test_an_item_s_side_is_its_own(items: list[str], more: list[str], data: st.DataObject) -> None:
    mixed = data.draw(st.permutations(items + more))
    assert {items[at] for at in halves(items)["test"]} <= {mixed[at] for at in halves(mixed)["test"]}


@given(items=st.lists(st.text(max_size=3), min_size=1, max_size=30, unique=True), data=st.data())
def test_fewer_items_are_some_of_more(items: list[str], data: st.DataObject) -> None:
    everyone = list(range(len(items)))
    few, many = sorted(data.draw(st.tuples(*[st.integers(1, len(items))] * 2)))
    assert set(some(everyone, items, few, "items")) <= set(some(everyone, items, many, "items"))
    assert len(some(everyone, items, few, "items")) == few
    with pytest.raises(DataError, match="wanted"):
        some(everyone, items, len(items) + 1, "items")


def test_a_function_with_splits_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "METRICS = {'n': True}\ndef score(model, split):\n    return {'n': float(split == 'test')}\n"
    )
    values = [
        FunctionScorer("own.py:score", tmp_path, split)(nn.Identity()).mean("n")
        for split in ("validation", "test")
    ]
    assert values == [0.0, 1.0]


def test_a_function_without_splits_is_split_by_number(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\nMETRICS = {'n': True}\n"
        "def score(model):\n    return {'n': torch.arange(12.0)}\n"
        "def one(model):\n    return {'n': 1.0}\n"
    )
    model = nn.Linear(1, 1)
    whole = FunctionScorer("own.py:score", tmp_path)
    parts = [HalfOfFunction(whole, split)(model).values["n"].tolist() for split in ("validation", "test")]
    assert sorted(parts[0] + parts[1]) == torch.arange(12.0).tolist()
    assert all(parts)
    one = FunctionScorer("own.py:one", tmp_path)
    [empty] = [split for split, numbers in halves(["0"]).items() if not numbers]
    with pytest.raises(ConfigError, match="returns 1 values: too few"):
        HalfOfFunction(one, "test" if empty == "test" else "validation")(model)
