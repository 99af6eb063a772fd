"""Statistics gathered on the way: what whole tensors give, at no extra read, whatever interrupts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merge_cases import make_recipe, make_states, stop_half_way, write_models

from m2m.errors import CheckpointError, RecipeError, RunFolderError
from m2m.merging import merge
from m2m.merging.methods.exact import gram_matrix, task_vectors
from m2m.merging.stream import memory, passes

SHAPES = {"a": (300, 70), "b": (70_001,), "c": (0,), "d": (5,)}
EACH = {"weight": [0.5, 0.25]}


def read(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "statistics.json").read_bytes())
    return content


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("method", "base"), [("task_arithmetic", True), ("linear", True), ("model_stock", True), ("ties", True)]
)
def test_statistics_are_those_of_whole_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, method: str, base: bool
) -> None:
    monkeypatch.setattr(passes, "WINDOW_BYTES", 100_000)
    monkeypatch.setattr(memory, "SLOT_BYTES", 8192)
    states = make_states(SHAPES, 2, [dtype], 1)
    paths = write_models(states, tmp_path)
    each: dict[str, list[Any]] = (
        {} if method == "model_stock" else EACH | ({"density": [0.3, 0.6]} if method == "ties" else {})
    )
    recipe = make_recipe(method, paths, base=base, shared={}, each=each)
    plain = merge(recipe, tmp_path / "plain", threads=2)
    report = merge(recipe, tmp_path / "out", statistics=True, threads=2)
    found = read(tmp_path / "out")
    assert (found["base"], found["experts"]) == (paths[0], paths[1:])
    for name in SHAPES:
        vectors = task_vectors(states[0][name], [state[name] for state in states[1:]])
        assert found["tensors"][name]["gram"] == gram_matrix(vectors)
        signs = [torch.sign(vector) for vector in vectors]
        for i, j in ((0, 0), (0, 1), (1, 1)):
            product = signs[i] * signs[j]
            assert found["tensors"][name]["same_sign"][i][j] == int((product > 0).sum())
            assert found["tensors"][name]["opposite_sign"][j][i] == int((product < 0).sum())
        largest = [vector.abs().max().item() if vector.numel() else 0.0 for vector in vectors]
        assert found["tensors"][name]["largest"] == largest
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "plain" / "model.safetensors"
    ).read_bytes()
    extra = sum(states[0][name].nbytes for name in SHAPES) if method == "linear" else 0
    assert report.read_bytes == plain.read_bytes + extra


def test_the_whole_is_the_sum_of_its_tensors(tmp_path: Path) -> None:
    paths = write_models(make_states(SHAPES, 2, [torch.float32], 2), tmp_path)
    merge(make_recipe("linear", paths, base=True, shared={}, each=EACH), tmp_path / "out", statistics=True)
    found = read(tmp_path / "out")
    for key in ("elements", "same_sign", "opposite_sign", "gram"):
        parts = torch.tensor([found["tensors"][name][key] for name in SHAPES], dtype=torch.float64).sum(0)
        torch.testing.assert_close(
            parts, torch.tensor(found["whole"][key], dtype=torch.float64), rtol=1e-15, atol=0
        )
    same, opposite = found["whole"]["same_sign"][0][1], found["whole"]["opposite_sign"][0][1]
    assert found["whole"]["sign_agreement"][0][1] == same / (same + opposite)
    assert found["tensors"]["c"]["sign_agreement"] == [[None, None], [None, None]]


def test_an_interrupted_merge_ends_in_the_same_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {f"t{i}": (300, 70) for i in range(12)}
    paths = write_models(make_states(shapes, 2, [torch.float32], 3), tmp_path)
    recipe = make_recipe("linear", paths, base=True, shared={}, each=EACH)
    merge(recipe, tmp_path / "whole", statistics=True)
    stop_half_way(recipe, tmp_path / "out", monkeypatch, statistics=True)
    with (tmp_path / ".out.merging" / "statistics.jsonl").open("a") as file:
        file.write("[1, [2")
    report = merge(recipe, tmp_path / "out", resume=True, statistics=True)
    assert 0 < report.resumed_bytes < 12 * 300 * 70 * 4
    for name in ("statistics.json", "model.safetensors", "manifest.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_merge_without_statistics_is_not_resumed_with(tmp_path: Path) -> None:
    paths = write_models(make_states({"a": (30,)}, 2, [torch.float32], 3), tmp_path)
    recipe = make_recipe("task_arithmetic", paths, base=True, shared={}, each=EACH)
    merge(recipe, tmp_path / "out")
    with pytest.raises(RunFolderError, match="merged without statistics"):
        merge(recipe, tmp_path / "out", resume=True, statistics=True)


def test_statistics_need_a_base_model_that_is_no_wider(tmp_path: Path) -> None:
    paths = write_models(
        make_states({"a": (30,)}, 2, [torch.float64, torch.float32, torch.float32], 3), tmp_path
    )
    with pytest.raises(RecipeError, match="name a base_model"):
        merge(
            make_recipe("linear", paths, base=False, shared={}, each=EACH), tmp_path / "out", statistics=True
        )
    with pytest.raises(CheckpointError, match="'a' is F64, wider than the experts'"):
        merge(
            make_recipe("linear", paths, base=True, shared={}, each=EACH), tmp_path / "out", statistics=True
        )
