"""`m2m info`: what headers and small files say of a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter

from m2m.checkpoint import save
from m2m.cli import main
from m2m.errors import CheckpointError, RecipeError
from m2m.merging import merge
from m2m.merging.describe import AdapterInfo, TensorFamily, info


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    layers = {f"model.layers.{i}.w": torch.zeros(3, 4, dtype=torch.bfloat16) for i in range(2)}
    save({"model.embed_tokens.weight": torch.zeros(8, 4), **layers}, tmp_path / "model")
    config = {
        "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "vocab_size": 8,
        "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"content": "</s>", "id": 2}]}
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages }}")
    return tmp_path


def test_a_model_is_described_from_its_headers(folder: Path) -> None:
    found = info(folder / "model")
    assert found.architecture == "LlamaForCausalLM"
    assert found.sizes == {"layers": 2, "vocabulary": 8}
    assert (found.tensors, found.parameters, found.nbytes) == (3, 56, 32 * 4 + 24 * 2)
    assert found.families == (
        TensorFamily("model.embed_tokens.weight", 1, (8, 4), "F32", 32, 128),
        TensorFamily("model.layers.*.w", 2, (3, 4), "BF16", 24, 48),
    )
    assert found.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert (found.tokens, found.has_chat_template) == (3, True)
    assert found.side_files == ("chat_template.jinja", "config.json", "tokenizer.json")
    assert found.adapter is None


def test_a_merged_model_tells_its_recipe(folder: Path) -> None:
    recipe = {"merge_method": "passthrough", "models": [{"model": str(folder / "model")}]}
    merge(recipe, folder / "out")
    assert info(folder / "out").recipe == recipe


def test_an_adapter_tells_its_base(folder: Path) -> None:
    parts = factors("model.layers.0", rows=3, columns=4, rank=4, seed=0)
    save_adapter(folder / "adapter", parts, base_model_name_or_path="org/base")
    found = info(folder / "adapter")
    assert found.adapter == AdapterInfo("org/base", rank=4, scale=2.0, modules=1, whole=0)


def test_what_is_no_model_is_one_error(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        info(folder)
    (folder / "adapter").mkdir()
    with pytest.raises(RecipeError, match="two things"):
        info(f"{folder / 'model'}+{folder / 'adapter'}")


def test_the_command_prints_a_table_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder / "model")]) == 0
    text = capsys.readouterr().out
    assert "parameters   56 in 3 tensors of F32, BF16" in text
    assert "model.layers.*.w           2      [3, 4]  BF16  24" in text
    assert main(["info", str(folder / "model"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 56
