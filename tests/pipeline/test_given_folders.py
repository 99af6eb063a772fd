"""Models that trainers saved under the names of the hub become a run's, which keeps those of its module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from m2m.checkpoint import Checkpoint, save, verify
from m2m.errors import CheckpointError
from m2m.pipeline.taking import take_model

transformers: Any = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

SIZES = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2}
FAMILIES = {
    "gpt_neox": HEADS,
    "qwen3_moe": {
        **HEADS,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_experts": 4,
        "moe_intermediate_size": 8,
    },
}


def written(place: Path, family: str) -> tuple[Path, Any]:
    """A run's base, and a model that a trainer saved."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    save(transformers.AutoModelForCausalLM.from_config(config).state_dict(), place / "base")
    expert = transformers.AutoModelForCausalLM.from_config(config)
    expert.save_pretrained(place / "theirs")
    return place / "base", expert


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_other_names_becomes_the_modules_state(tmp_path: Path, family: str) -> None:
    base, expert = written(tmp_path, family)
    assert Checkpoint(base).tensors.keys() != Checkpoint(tmp_path / "theirs").tensors.keys()
    take_model(tmp_path / "theirs", base, tmp_path / "taken", {}, {})
    verify(tmp_path / "taken")
    taken = Checkpoint(tmp_path / "taken").state()
    assert taken.keys() == expert.state_dict().keys()
    assert all(torch.equal(taken[name], tensor) for name, tensor in expert.state_dict().items())


def test_one_that_lacks_a_tensor_or_is_not_finite_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    base, _ = written(tmp_path, "qwen3_moe")
    file = tmp_path / "theirs" / "model.safetensors"
    state, name = load_file(file), "model.layers.0.mlp.experts.1.up_proj.weight"
    save_file({key: tensor for key, tensor in state.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"theirs: lacks tensors of .*experts\.gate_up_proj"):
        take_model(tmp_path / "theirs", base, tmp_path / "taken", {}, {})
    save_file(state | {name: torch.full_like(state[name], torch.nan)}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"experts\.1\.up_proj\.weight' is not finite"):
        take_model(tmp_path / "theirs", base, tmp_path / "taken", {}, {})
    assert not (tmp_path / "taken").exists()
