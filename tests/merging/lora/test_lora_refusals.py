"""Adapters that are not what they say, or not this base model's, are refused with one clear error."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.lora_files import State, factors, save_adapter

from m2m.checkpoint import save
from m2m.errors import CheckpointError, ConfigError, M2MError, RecipeError
from m2m.merging import merge

Change = Callable[[State], object]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("model.a.q.weight", "model.a.o.weight", "model.b.q.weight")
    save({name: torch.ones(6, 10) for name in names} | {"model.a.q.bias": torch.ones(6)}, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def adapter_of(change: Change | None = None, **config: object) -> Path:
    tensors = factors("model.a.q", 6, 10, 4, 1)
    if change is not None:
        change(tensors)
    return save_adapter(Path("lora"), tensors, **config)


def merge_it(*, strict: bool = False, **changes: object) -> None:
    recipe = {"merge_method": "task_arithmetic", "base_model": "base", **changes}
    models = [{"model": "lora", "parameters": {"weight": 1.0}}]
    merge({"models": models, **recipe}, "out", threads=2, strict=strict)


def put(name: str, tensor: torch.Tensor) -> Change:
    return lambda state: state.__setitem__(name, tensor)


def set_value(name: str, index: tuple[int, int], value: float) -> Change:
    return lambda state: state[name].__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (lambda state: state.pop("model.a.q.B"), {}, r"module 'model.a.q' has lora_A but no lora_B"),
        (lambda state: state.pop("model.a.q.A"), {}, r"module 'model.a.q' has lora_B but no lora_A"),
        (None, {"r": 8}, r"A is \[4, 10\] and B \[6, 4\]; adapter_config.json says rank 8"),
        (None, {"rank_pattern": {"q": 2}}, r"says rank 2"),
        (put("model.a.q.B", torch.ones(6, 3)), {}, r"B \[6, 3\]"),
        (put("model.a.q.B", torch.ones(5, 4)), {}, r"B·A of 'model.a.q.weight' is \[5, 10\].* \[6, 10\]"),
        (set_value("model.a.q.A", (1, 2), float("nan")), {}, r"lora/.*lora_A.weight' is NaN .* index 12"),
        (set_value("model.a.q.B", (5, 3), float("inf")), {}, r"lora/.*lora_B.weight' is NaN .* index 23"),
        (put("model.c.q.A", torch.ones(4, 10)), {}, r"module 'model.c.q' has lora_A but no"),
        (
            lambda state: state.update(factors("model.c.q", 6, 10, 4, 1)),
            {},
            r"adapts model.c.q.weight, which",
        ),
        (put("model.a.q.A", torch.ones(4, 10, dtype=torch.int32)), {}, r"is I32; wanted"),
        (put("model.a.q.A", torch.ones(4, 10, 1, 1)), {}, r"wanted a matrix \(convolutions"),
        (
            put("model.a.q.lora_magnitude_vector", torch.ones(6)),
            {},
            r"holds the magnitude vector of 'model.a.q', .* use_dora: false",
        ),
        (
            put("model.a.q.lora_magnitude_vector", torch.ones(5)),
            {"use_dora": True},
            r"lora_magnitude_vector' is F32 \[5\]; wanted a float for each of the 6 outputs",
        ),
        (
            put("model.a.q.lora_magnitude_vector", torch.tensor([1.0, 1, 1, 1, 1, math.inf])),
            {"use_dora": True},
            r"lora_magnitude_vector' is NaN or infinite at index 5",
        ),
        (put("model.a.q.lora_E", torch.ones(4, 1)), {}, r"is no factor"),
        (put("model.a.q.lora_A.x.y.weight", torch.ones(4, 10)), {}, r"not a name that PEFT gives"),
        (put("model.a.q.lora_A.other.weight", torch.ones(4, 10)), {}, r"are the same factor"),
        (put("model.b.q.weight", torch.ones(7, 10)), {}, r"has shape \[7, 10\], wanted \[6, 10\]"),
        (put("model.b.q.lora_B.bias", torch.ones(6)), {}, r"a bias of lora_B but no factors"),
        (None, {"base_model_name_or_path": "other/model-7b"}, r"was trained on 'other/model-7b'"),
        (None, {"peft_type": "IA3"}, r"peft_type is 'IA3'"),
        (None, {"use_dora": True}, r"lacks the magnitude vector of 'model.a.q', .* use_dora: true"),
        (None, {"init_lora_weights": "pissa_niter_4"}, r"it changed the base model's weights too"),
        (None, {"brand_new": {"x": 1}}, r"brand_new is .*not known"),
        (None, {"layer_replication": [[0, 2]]}, r"repeats layers"),
        (None, {"use_rslora": "false"}, r"use_rslora must be true or false, got 'false'"),
        (None, {"fan_in_fan_out": "no"}, r"fan_in_fan_out must be true or false, got 'no'"),
        (None, {"lora_alpha": float("nan")}, r"lora_alpha must be a number above 0"),
        (None, {"r": 2.5}, r"r must be a whole number above 0"),
        (None, {"rank_pattern": {"(": 4}}, r"has the pattern '\('"),
    ],
)
def test_bad_adapters_are_named(
    folder: Path, change: Change | None, config: dict[str, object], message: str
) -> None:
    adapter_of(change, **config)
    with pytest.raises(CheckpointError, match=message):
        merge_it()
    assert not (folder / "out").exists()
    assert not (folder / ".out.merging").exists()


@pytest.mark.parametrize("name", ["base", "./base", "someone/Base", None, ""])
def test_the_base_model_may_stand_elsewhere(folder: Path, name: str | None) -> None:
    adapter_of(base_model_name_or_path=name)
    merge_it()


def test_a_config_that_is_no_json_is_refused(folder: Path) -> None:
    (adapter_of() / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not an adapter's configuration"):
        merge_it()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"base_model": None, "merge_method": "linear"},
            RecipeError,
            r"name its base_model, or write MODEL\+",
        ),
        ({"base_model": "base+lora"}, RecipeError, r"is an adapter on a model"),
        ({"models": [{"model": "base+base", "parameters": {"weight": 1}}]}, CheckpointError, r"no adapter;"),
    ],
)
def test_recipes_that_have_no_meaning(
    folder: Path, changes: dict[str, object], error: type[M2MError], message: str
) -> None:
    adapter_of()
    with pytest.raises(error, match=message):
        merge_it(**changes)


def test_an_embedding_that_is_the_head_too_is_doubted(folder: Path) -> None:
    save_adapter(
        folder / "lora",
        {"model.a.q.lora_embedding_A": torch.ones(4, 6), "model.a.q.lora_embedding_B": torch.ones(10, 4)},
    )
    for config, tied in (
        ({}, True),
        ({"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False}, False),
    ):
        (folder / "base" / "config.json").write_text(json.dumps(config | {"model_type": "x"}))
        if tied:
            with pytest.raises(CheckpointError, match=r"is embedding and head in one.*strict"):
                merge_it(strict=True)
            assert not (folder / "out").exists()
        merge_it(strict=not tied)
        shutil.rmtree(folder / "out")


def test_a_cut_off_factor_file_is_refused(folder: Path) -> None:
    file = adapter_of() / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="is cut off"):
        merge_it()


def test_factors_count_in_the_budget(folder: Path) -> None:
    wide = {"a.weight": torch.ones(64, 4096)}
    save(wide, folder / "wide")
    save_adapter(folder / "lora", factors("a", 64, 4096, 32, 1), r=32)
    models = [{"model": "lora", "parameters": {"weight": 1.0}}]
    recipe = {"merge_method": "task_arithmetic", "base_model": "wide", "models": models}
    need = 2 * 32 * (64 + 4096) * 4
    with pytest.raises(ConfigError, match="factors"):
        merge(recipe, folder / "out", memory=need)
    merge(recipe, folder / "out", memory=need + 3 * 4096)
