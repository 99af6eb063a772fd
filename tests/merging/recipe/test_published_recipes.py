"""Recipes as large as those that are published run on small models of the same class, and load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from m2m.merging import merge

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

LAYERS = 8
SIZES = {
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
CLASSES = {
    "llama": (transformers.LlamaConfig, {}),
    "mistral": (transformers.MistralConfig, {"sliding_window": 8}),
    "qwen2": (transformers.Qwen2Config, {"use_sliding_window": True, "max_window_layers": 5}),
    "gemma2": (transformers.Gemma2Config, {"head_dim": 4}),
}


@pytest.fixture
def models(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base model and three experts of a class, in the folders base, math, code and chat."""
    config, more = CLASSES[request.param]
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_config(config(**SIZES, **more)).to(torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    for name in ("math", "code", "chat"):
        with torch.no_grad():
            for parameter in base.parameters():
                parameter += torch.randn_like(parameter) / 64
        base.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)


FRANKENMERGE = """
dtype: bfloat16
merge_method: passthrough
slices:
  - sources: [{model: math, layer_range: [0, 4]}]
  - sources: [{model: code, layer_range: [2, 6]}]
  - sources:
      - model: math
        layer_range: [3, 7]
        parameters:
          scale:
            - {filter: o_proj, value: 0.0}
            - {filter: down_proj, value: 0.0}
            - value: 1.0
  - sources: [{model: chat, layer_range: [5, 8]}]
"""
GRADIENT_SLERP = """
merge_method: slerp
base_model: math
slices:
  - sources:
      - {model: math, layer_range: [0, 8]}
      - {model: code, layer_range: [0, 8]}
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - filter: layernorm
      value: 0.25
    - value: 0.5
dtype: bfloat16
"""
DARE_TIES = """
merge_method: dare_ties
base_model: base
models:
  - {model: base}
  - model: math
    parameters:
      density: [1, 0.7, 0.3]
      weight: 0.4
  - model: code
    parameters:
      density: 0.53
      weight:
        - {filter: self_attn, value: [0.1, 0.5]}
        - {filter: mlp, value: 0.3}
        - value: 0.2
  - model: chat
    parameters: {density: 0.53, weight: 0.3}
parameters:
  int8_mask: true
  normalize: true
  rescale: true
dtype: float32
out_dtype: bfloat16
"""
DELLA = """
merge_method: della_linear
base_model: base
models:
  - model: math
    parameters:
      weight:
        - {filter: q_proj, value: [0.3, 0.6, 0.6, 0.3]}
        - {filter: down_proj, value: 0.7}
        - value: 0.5
      density: 0.6
      epsilon: 0.1
  - model: code
    parameters: {weight: 0.5, density: 0.7, epsilon: 0.15}
  - model: chat
    parameters: {weight: [0, 0.5], density: 0.5, epsilon: 0.05}
parameters:
  lambda: 1.1
  normalize: false
dtype: bfloat16
"""


@pytest.mark.parametrize(
    ("models", "recipe", "layers"),
    [
        ("llama", FRANKENMERGE, 15),
        ("qwen2", FRANKENMERGE, 15),
        ("gemma2", FRANKENMERGE, 15),
        ("mistral", GRADIENT_SLERP, 8),
        ("llama", DARE_TIES, 8),
        ("qwen2", DELLA, 8),
    ],
    indirect=["models"],
)
@pytest.mark.usefixtures("models")
def test_it_runs_and_loads(tmp_path: Path, recipe: str, layers: int) -> None:
    path = tmp_path / "recipe.yml"
    path.write_text(recipe)
    merge(path, tmp_path / "out")
    model, about = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]
    assert model.config.num_hidden_layers == layers
    kinds: Any = getattr(model.config, "layer_types", None)
    assert kinds is None or len(kinds) == layers
    with torch.no_grad():
        assert model(torch.arange(6)[None]).logits.isfinite().all()
