"""Thousands of small tensors: the work of a merge grows as their number, and by little for each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from helpers.merge_cases import make_recipe, write_models

from m2m.checkpoint import Checkpoint
from m2m.merging import merge

#: Experts beside the base model.
EXPERTS = 4


def count_calls(run: Callable[[], object]) -> int:
    """Count the calls that this thread makes, of compiled functions too: work, whatever the clock says."""
    calls = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return calls


def calls_of_merge(
    folder: Path, tensors: int, method: str, each: dict[str, list[Any]], *, alike: bool
) -> int:
    folder.mkdir()
    state = {f"model.layers.{i // 10}.experts.{i % 10}.weight": torch.ones(8, 8) for i in range(tensors)}
    states = [state] * (EXPERTS + 1)
    if not alike:  # another order of the tensors is another header
        names = list(state)
        states = [{name: state[name] for name in names[i:] + names[:i]} for i in range(EXPERTS + 1)]
    paths = write_models(states, folder)
    recipe = make_recipe(method, paths, base=True, shared={}, each=each)
    return count_calls(lambda: merge(recipe, folder / "out", threads=1))


@pytest.mark.parametrize(
    ("method", "each", "alike", "most"),
    [
        ("task_arithmetic", {"weight": [0.25] * EXPERTS}, True, 110),
        ("task_arithmetic", {"weight": [0.25] * EXPERTS}, False, 140),
        ("ties", {"weight": [0.25] * EXPERTS, "density": [0.5] * EXPERTS}, True, 150),
    ],
    ids=["same headers", "other headers", "ties"],
)
def test_work_is_linear_in_the_number_of_tensors(
    tmp_path: Path, method: str, each: dict[str, list[Any]], alike: bool, most: int
) -> None:
    _, few, some, many = (  # the first one imports what it needs
        calls_of_merge(tmp_path / str(tensors), tensors, method, each, alike=alike)
        for tensors in (10, 200, 400, 800)
    )
    first, then = (some - few) / 200, (many - some) / 400
    print(f"{method}: {first:.1f} and {then:.1f} calls a tensor")
    # What is asked ten times a second, while workers write, differs from run to run.
    assert then <= 1.02 * first + 1
    assert then <= most


@pytest.mark.parametrize(
    "method", ["linear", "ties", "della", "breadcrumbs", "sce", "arcee_fusion", "dare_ties"]
)
def test_a_tensor_without_elements_stays_one(method: str, tmp_path: Path) -> None:
    states = [
        {
            "a": torch.randn(3, 4),
            "none": torch.empty(0),
            "rows": torch.empty(3, 0),
            "columns": torch.empty(0, 3),
        }
        for _ in range(3 if method != "arcee_fusion" else 2)
    ]
    paths = write_models(states, tmp_path)
    weight = {} if method in ("sce", "arcee_fusion") else {"weight": 1.0}
    models = [{"model": path, "parameters": weight} for path in paths[1:]]
    merge({"merge_method": method, "base_model": paths[0], "models": models}, tmp_path / "out")
    merged = Checkpoint(tmp_path / "out").state()
    assert {name: tuple(tensor.shape) for name, tensor in merged.items()} == {
        "a": (3, 4), "none": (0,), "rows": (3, 0), "columns": (0, 3),
    }  # fmt: skip
