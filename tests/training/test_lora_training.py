"""LoRA and DoRA by PEFT on a byte GPT: what is trained, what it is as a whole model, and its laws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.byte_setup import ByteSetup, byte_setup
from torch import Tensor

from m2m.checkpoint import save
from m2m.errors import ConfigError
from m2m.mixture import Mixture, all_subsets
from m2m.scoring import model_state
from m2m.training import Trained, TrainRecipe, train
from m2m.training.lora import save_adapter
from m2m.training.recipe import LoraOptions

pytest.importorskip("peft", reason="needs the extra `lora`")

RECIPE = TrainRecipe(steps=3, batch=6, learning_rate=0.01, adapter="lora", lora=LoraOptions(r=2, alpha=4.0))


@pytest.fixture(scope="module")
def setup() -> ByteSetup:
    return byte_setup()


def trained(setup: ByteSetup, members: str, recipe: TrainRecipe = RECIPE, seed: int = 0) -> Trained:
    return train(setup, setup.base_state(Path()), Mixture.subset("abc", members), recipe, seed)


def moved(setup: ByteSetup, state: dict[str, Tensor]) -> set[str]:
    base = setup.base_state(Path())
    return {name for name in base if not torch.equal(base[name], state[name])}


def test_factors_of_linear_layers_are_trained_and_nothing_else(setup: ByteSetup) -> None:
    found = trained(setup, "ab")
    assert found.adapter is not None
    assert moved(setup, found.state) == {
        name for name in found.state if name.endswith(".weight") and found.state[name].ndim == 2
        if name.startswith(("blocks.", "head."))
    }  # fmt: skip
    ranks = {name: tensor.shape for name, tensor in found.adapter.tensors.items()}
    assert ranks["base_model.model.blocks.0.mlp_in.lora_A.weight"] == (2, 8)
    assert ranks["base_model.model.blocks.0.mlp_in.lora_B.weight"] == (32, 2)
    assert found.state.keys() == setup.base_state(Path()).keys()


def test_the_whole_model_is_what_reading_the_adapter_gives(setup: ByteSetup, tmp_path: Path) -> None:
    save(setup.base_state(Path()), tmp_path / "base")
    for scaled in (False, True):
        recipe = replace(RECIPE, lora=LoraOptions(r=3, alpha=5.0, dropout=0.2, rslora=scaled))
        found = trained(setup, "ac", recipe)
        assert found.adapter is not None
        folder = tmp_path / f"adapter{scaled}"
        save_adapter(found.adapter, folder, tmp_path / "base", texts={}, facts={})
        read = model_state(tmp_path / "base", folder)
        assert all(torch.equal(read[name], found.state[name]) for name in found.state)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["r"], config["use_rslora"]) == (3, scaled)


def test_the_whole_model_is_what_peft_computes(setup: ByteSetup) -> None:
    """float32 sums of two products, each rounded, against one rounding: γ₄ of the magnitudes involved."""
    found = trained(setup, "b")
    assert found.adapter is not None
    module = "blocks.0.mlp_in"
    a, b = (found.adapter.tensors[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
    base = setup.base_state(Path())[f"{module}.weight"]
    bound = 2.0**-23 * (base.abs() + 2 * (b.abs() @ a.abs()) * 4)
    assert ((base + 2 * (b @ a) - found.state[f"{module}.weight"]).abs() <= bound).all()


def test_one_full_batch_step_makes_the_merge_the_mixture() -> None:
    """B starts at zero and A is drawn by the seed alone: the first step of SGD is linear in the gradient."""
    setup = byte_setup(examples=2)  # whole epochs for one, two and three members
    recipe = replace(RECIPE, steps=1, batch=12, optimizer="sgd", learning_rate=0.1)
    experts = {name: trained(setup, name, recipe).state for name in "abc"}
    base = setup.base_state(Path())
    for subset in all_subsets("abc"):
        state = trained(setup, "".join(subset.members), recipe).state
        for name in base:
            merged = torch.stack([experts[member][name] for member in subset.members]).mean(dim=0)
            torch.testing.assert_close(state[name], merged, rtol=0, atol=2e-6)
    assert moved(setup, experts["a"])


def test_seeds_and_repeats(setup: ByteSetup) -> None:
    recipe = replace(RECIPE, lora=LoraOptions(r=2, dropout=0.3))
    first, again, other = (trained(setup, "abc", recipe, seed).state for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_dora_leaves_a_whole_model(setup: ByteSetup) -> None:
    plain, found = trained(setup, "a"), trained(setup, "a", replace(RECIPE, lora=LoraOptions(r=2, dora=True)))
    assert found.adapter is None
    assert moved(setup, found.state) == moved(setup, plain.state)
    assert not torch.equal(found.state["head.weight"], plain.state["head.weight"])


def test_named_layers_alone(setup: ByteSetup) -> None:
    recipe = replace(RECIPE, lora=LoraOptions(r=2, target_modules=("mlp_in", "blocks.0.attention_out")))
    assert moved(setup, trained(setup, "a", recipe).state) == {
        "blocks.0.mlp_in.weight", "blocks.0.attention_out.weight",
    }  # fmt: skip


def test_bad_options_are_named(setup: ByteSetup) -> None:
    with pytest.raises(ConfigError, match=r"`target_modules` has 'mlp_inn' \(did you mean 'mlp_in'\?\)"):
        trained(setup, "a", replace(RECIPE, lora=LoraOptions(target_modules=("mlp_inn",))))
    with pytest.raises(ConfigError, match="no linear layer that is trained"):
        trained(replace(setup, frozen=True), "a")
    for wrong, said in (
        ({"r": 0}, r"train\.lora\.r must be a whole number of at least 1, got 0"),
        ({"alpha": 0.0}, r"train\.lora\.alpha must be above 0"),
        ({"dropout": 1.0}, r"train\.lora\.dropout must be at least 0 and below 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            LoraOptions(**wrong)
    for keys, said in (
        ({"adapter": "dora"}, r"train\.adapter must be one of lora, got 'dora'"),
        ({"adapter": None}, r"\[train\.lora\] is there, but not train\.adapter"),
        ({"save_moments": True}, r"train\.save_moments is of whole models"),
    ):
        with pytest.raises(ConfigError, match=said):
            replace(RECIPE, **keys)
