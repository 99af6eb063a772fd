"""Models that were saved under their modules' names merge and score with the folder that they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_models import write_tokenizer

import m2m
from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError
from m2m.scoring.table import ScoreTable

transformers: Any = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

SIZES = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
MORE = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "eos_token_id": 256}
FAMILIES = {
    "qwen3_moe": {**MORE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
    "mixtral": {**MORE, "num_local_experts": 4},
    "gpt_neox": {"num_attention_heads": 2, "eos_token_id": 256},
}


def written(place: Path, family: str) -> None:
    """A base folder; experts as folders `a`, `b`, and as states of their modules `a-state`, `b-state`."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    for seed, name in enumerate(("base", "a", "b")):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        model.save_pretrained(place / name)
        write_tokenizer(place / name)
        save(model.state_dict(), place / f"{name}-state")
    (place / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")


def merged(place: Path, names: list[str]) -> dict[str, torch.Tensor]:
    experts = [{"model": str(place / name), "parameters": {"weight": 0.5}} for name in names]
    out = place / "-".join(["merged", *names])
    m2m.merge({"merge_method": "linear", "base_model": str(place / "base"), "models": experts}, out)
    transformers.AutoModelForCausalLM.from_pretrained(out)
    return Checkpoint(out).state()


def losses(place: Path, names: list[str], mode: str) -> list[list[float]]:
    out = place / "-".join([mode, *names])
    experts = {letter: place / name for letter, name in zip("ab", names, strict=True)}
    task = f"lm:{place / 'text.txt'}"
    m2m.score(place / "base", experts, tasks=[task], context=16, mode=mode, out=out.with_suffix(".csv"))
    with ScoreTable(out.with_suffix(".sqlite")) as table:
        return [row.examples.tolist() for row in table.rows(metric="loss")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_modules_state_is_the_folder_that_transformers_saves(tmp_path: Path, family: str) -> None:
    written(tmp_path, family)
    folders, states = ["a", "b"], ["a", "b-state"]
    wanted, got = merged(tmp_path, folders), merged(tmp_path, states)
    assert wanted.keys() == got.keys() == Checkpoint(tmp_path / "base").tensors.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in wanted.items())
    for mode in ("resident", "streamed"):
        assert losses(tmp_path, states, mode) == losses(tmp_path, folders, mode)


def test_a_state_that_lacks_a_tensor_is_refused_as_before(tmp_path: Path) -> None:
    written(tmp_path, "qwen3_moe")
    state = Checkpoint(tmp_path / "a-state").state()
    del state["model.layers.1.mlp.experts.gate_up_proj"]
    save(state, tmp_path / "less")
    with pytest.raises(CheckpointError, match=r"less: lacks tensors of .*base: 'model\.layers\.0\.mlp\.exp"):
        merged(tmp_path, ["a", "less"])
