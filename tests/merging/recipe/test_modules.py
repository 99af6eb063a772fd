"""Recipes by module: which tensors a module takes, what holds for it, and that the result is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from m2m.checkpoint import Checkpoint, save
from m2m.errors import RecipeError
from m2m.merging import merge
from m2m.merging.recipe.modules import split_modules
from m2m.merging.recipe.reader import load

VLM = (
    "model.embed_tokens.weight",
    "model.layers.0.q.weight",
    "model.layers.1.q.weight",
    "lm_head.weight",
    "visual.blocks.0.q.weight",
    "visual.blocks.1.q.weight",
    "visual.merger.mlp.0.weight",
)
T5 = (
    "shared.weight",
    "encoder.block.0.layer.0.q.weight",
    "decoder.block.0.layer.0.q.weight",
    "lm_head.weight",
)


def test_modules_by_the_names_that_mergekit_gives_them() -> None:
    assert split_modules(VLM, ["vision_tower", "text_decoder", "multi_modal_projector"]) == {
        "vision_tower": [*VLM[4:6]],
        "text_decoder": [*VLM[:4]],
        "multi_modal_projector": [VLM[6]],
    }
    names = (
        "language_model.model.layers.0.q.weight",
        "vision_tower.vision_model.encoder.layers.0.q.weight",
        "multi_modal_projector.linear_1.weight",
    )
    split = split_modules(names, ["text_decoder", "vision_tower", "multi_modal_projector"])
    assert [own for [own] in split.values()] == [*names]
    assert split_modules(T5, ["encoder", "decoder", "shared"]) == {
        "encoder": [T5[1]],
        "decoder": [T5[2]],
        "shared": [T5[0], T5[3]],
    }


def test_modules_by_prefix_and_the_rest() -> None:
    assert split_modules(VLM, ["default", "visual.blocks"]) == {
        "visual.blocks": [*VLM[4:6]],
        "default": [*VLM[:4], VLM[6]],
    }
    assert split_modules(VLM[:4], ["text_decoder"]) == {"text_decoder": [*VLM[:4]]}
    bert = ("embeddings.word.weight", "encoder.layer.0.q.weight")  # an encoder alone is the model
    assert split_modules(bert, ["default"]) == {"default": [*bert]}


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (["vision_towr"], r"modules.vision_towr: .*did you mean 'vision_tower'"),
        (["audio"], r"no such module; it has text_decoder, vision_tower, .*and default"),
        (["vision_tower", "visual"], r"vision_tower and visual both take 'visual.blocks.0.q.weight'"),
    ],
)
def test_modules_that_are_not_there_or_overlap(modules: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        split_modules(VLM, modules)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    torch.manual_seed(0)
    states = [{name: torch.randn(3, 4) for name in VLM} for _ in range(3)]
    return [str(save(state, tmp_path / name)) for state, name in zip(states, "bxy", strict=True)]


def test_each_module_has_its_own_models_and_settings(tmp_path: Path, folders: list[str]) -> None:
    base, x, y = folders
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "parameters": {"lambda": 1.0},
        "modules": {
            "text_decoder": {
                "models": [{"model": x, "parameters": {"weight": 1.0}}],
                "parameters": {"lambda": 0.5},
            },
            "vision_tower": {"models": [{"model": y, "parameters": {"weight": [0.0, 1.0]}}]},
        },
    }
    report = merge(recipe, tmp_path / "out", dtype="float64")
    b, ex, ey = (Checkpoint(folder).state() for folder in folders)
    state = Checkpoint(tmp_path / "out").state()
    assert state.keys() == b.keys()
    half = (b["lm_head.weight"].double() + ex["lm_head.weight"].double()) / 2
    assert torch.allclose(state["lm_head.weight"].double(), half, rtol=0, atol=1e-6)
    assert torch.equal(state[VLM[4]].float(), b[VLM[4]])
    assert torch.allclose(state[VLM[5]].double(), ey[VLM[5]].double(), rtol=0, atol=1e-6)
    assert torch.equal(state[VLM[6]].float(), b[VLM[6]])  # in no module: the donor's
    assert any("no module of the recipe takes 1 tensors" in note for note in report.notes)


def test_a_module_is_stacked_of_slices(tmp_path: Path, folders: list[str]) -> None:
    _, x, y = folders
    recipe = {
        "merge_method": "passthrough",
        "modules": {
            "text_decoder": {
                "slices": [
                    {"sources": [{"model": x, "layer_range": [0, 2]}]},
                    {"sources": [{"model": y, "layer_range": [1, 2]}], "residual_weight": 0.5},
                ]
            },
            "vision_tower": {"models": [{"model": y}]},
            "multi_modal_projector": {"models": [{"model": y}]},
        },
    }
    assert [note for note in load(recipe).notes if "residual_weight has no effect" in note]
    merge(recipe, tmp_path / "out")
    ex, ey = (Checkpoint(folder).state() for folder in folders[1:])
    state = Checkpoint(tmp_path / "out").state()
    assert torch.equal(state["model.layers.2.q.weight"], ey["model.layers.1.q.weight"])
    assert torch.equal(state["model.layers.1.q.weight"], ex["model.layers.1.q.weight"])
    assert torch.equal(state["visual.merger.mlp.0.weight"], ey["visual.merger.mlp.0.weight"])
    assert len(state) == len(VLM) + 1


def vlm(folder: Path, seed: int) -> str:
    transformers = pytest.importorskip("transformers")
    text = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    vision = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "intermediate_size": 24}
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**text, num_attention_heads=2),
        vision_config=transformers.CLIPVisionConfig(**vision, num_hidden_layers=2, num_attention_heads=2),
    )
    torch.manual_seed(seed)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.filterwarnings("ignore")
def test_a_vision_language_model_by_modules_loads(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    one, two = (vlm(tmp_path / f"vlm{seed}", seed) for seed in range(2))

    def sources(*ranges: list[int]) -> list[dict[str, Any]]:
        return [
            {"sources": [{"model": model, "layer_range": layers} for model in (one, two)]}
            for layers in ranges
        ]

    recipe = {
        "merge_method": "slerp",
        "base_model": {"model": one, "override_architecture": "LlavaForConditionalGeneration"},
        "parameters": {"t": 0.0},
        "modules": {
            "text_decoder": {"slices": sources([0, 2], [1, 2]), "parameters": {"t": 0.5}},
            "vision_tower": {"models": [{"model": one}, {"model": two}]},
        },
    }
    merge(recipe, tmp_path / "out")
    loaded, about = transformers.LlavaForConditionalGeneration.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]
    assert loaded.config.text_config.num_hidden_layers == 3
    assert loaded.config.vision_config.num_hidden_layers == 2
    base, out = Checkpoint(one), Checkpoint(tmp_path / "out")
    same = [name for name in base.names if "vision" in name or "projector" in name]
    assert same
    for name in same:
        assert torch.equal(out.read(name), base.read(name)), name
