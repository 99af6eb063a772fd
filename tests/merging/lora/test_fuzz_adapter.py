"""Damaged adapters through a whole merge: refused by name, or every tensor is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.json_mutations import mutate_json
from helpers.lora_files import factors, save_adapter
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.checkpoint import Checkpoint, save
from m2m.errors import M2MError
from m2m.merging import merge

SHAPE = (6, 10)
CONFIG = {"use_rslora": False, "rank_pattern": {"q": 4}, "alpha_pattern": {"q": 2.5}, "target_modules": ["q"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    save({"q.weight": torch.ones(SHAPE)}, folder / "base")
    save_adapter(folder / "lora", factors("q", *SHAPE, 4, 1), **CONFIG)
    return folder


def merge_it(folder: Path) -> None:
    """Every outcome but a refusal and a whole checkpoint is an error."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    expert = {"model": str(folder / "damaged"), "parameters": {"weight": 1.0}}
    recipe = {"merge_method": "task_arithmetic", "base_model": str(folder / "base"), "models": [expert]}
    try:
        merge(recipe, folder / "out", threads=1)
    except M2MError:
        assert not (folder / "out").exists()
        return
    assert Checkpoint(folder / "out").read("q.weight").shape == SHAPE


def damaged(folder: Path) -> Path:
    shutil.rmtree(folder / "damaged", ignore_errors=True)
    return Path(shutil.copytree(folder / "lora", folder / "damaged"))


@settings(max_examples=60)
@given(data=st.data())
def test_configurations_with_other_values(folder: Path, data: st.DataObject) -> None:
    path = damaged(folder) / "adapter_config.json"
    config = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        mutate_json(config, data)
    path.write_bytes(json.dumps(config).encode())
    merge_it(folder)


@settings(max_examples=40)
@given(data=st.data())
def test_factors_with_other_headers(folder: Path, data: st.DataObject) -> None:
    path = damaged(folder) / "adapter_model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    mutate_json(header, data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    merge_it(folder)
