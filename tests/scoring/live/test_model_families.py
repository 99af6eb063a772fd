"""Families whose modules hold weights otherwise than folders do are scored as merging and loading would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_models import write_tokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

import m2m
from m2m.errors import CheckpointError
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks import TextLossScorer

transformers: Any = pytest.importorskip("transformers", reason="needs the extra `huggingface`")

State = dict[str, Tensor]
SIZES = {
    "vocab_size": 257, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "eos_token_id": 256, "pad_token_id": 0,
}  # fmt: skip
ROUTED = {"num_experts_per_tok": 2, "moe_intermediate_size": 8}
LATENT = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "n_routed_experts": 4,
}  # fmt: skip
#: By model type, what its configuration needs besides `SIZES`.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt_neox": {},
    "qwen3_moe": {"num_experts": 4, "head_dim": 8, **ROUTED},
    "mixtral": {"num_local_experts": 4},
    "deepseek_v3": {**ROUTED, **LATENT},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}


@pytest.fixture(autouse=True, scope="module")
def _no_bars() -> None:
    transformers.utils.logging.disable_progress_bar()


def written(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> Path:
    """A base and the experts a and b of a family, as transformers saves them."""
    config = transformers.AutoConfig.for_model(family, **SIZES | FAMILIES[family])
    for seed, name in enumerate(("base", "a", "b")):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases too
                parameter.add_(0.05 * torch.randn(parameter.shape))
        model.to(dtype).save_pretrained(folder / name)
        write_tokenizer(folder / name)
    (folder / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")
    return folder


def changed(folder: Path, change: Callable[[State], State]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def losses(models: Path, mode: str) -> list[float]:
    out = models / f"{mode}.csv"
    m2m.score(
        models / "base",
        [models / "a", models / "b"],
        tasks=[f"lm:{models / 'text.txt'}"],
        context=16,
        mode=mode,
        out=out,
    )
    with ScoreTable(out.with_suffix(".sqlite")) as table:
        rows = {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}
    return rows["a+b"]


def merged_then_loaded(models: Path) -> list[float]:
    experts = [{"model": str(models / name), "parameters": {"weight": 0.5}} for name in "ab"]
    recipe = {"merge_method": "linear", "base_model": str(models / "base"), "models": experts}
    m2m.merge(recipe, models / "merged")
    dtype = next(iter(m2m.Checkpoint(models / "base").state().values())).dtype
    loaded = transformers.AutoModelForCausalLM.from_pretrained(models / "merged", dtype=dtype)
    loaded.config.use_cache = False
    folder = HuggingFaceFolder(models / "base", 16)
    scores = TextLossScorer.read(models / "text.txt", folder, stride=None, limit=None)(loaded.eval())
    return [float(value) for value in scores.values["loss"]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_those_of_merging_and_loading(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    models = written(tmp_path, family, dtype)
    resident = losses(models, "resident")
    assert resident == losses(models, "streamed") == merged_then_loaded(models)


def without_prefix(state: State) -> State:
    return {name.removeprefix("transformer."): tensor for name, tensor in state.items()}


def with_more(state: State) -> State:
    extra = {f"model.layers.{k}.self_attn.rotary_emb.inv_freq": torch.ones(4) for k in range(2)}
    return state | extra


def with_further_heads(state: State) -> State:
    return state | {"mtp.layers.0.weight": torch.ones(3)}


def halved(state: State) -> State:
    return {name: tensor.bfloat16() for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("family", "who", "change"),
    [
        ("gpt2", "base", without_prefix),
        ("gpt2", "a", without_prefix),
        ("llama", "base", with_more),
        ("llama", "b", with_more),
        ("llama", "base", with_further_heads),
        ("qwen3_moe", "a", halved),
        ("qwen3_moe", "ab", halved),
        ("mixtral", "base", halved),
    ],
)
def test_what_differs_harmlessly_is_scored_as_merging_and_loading_would(
    tmp_path: Path, family: str, who: str, change: Callable[[State], State]
) -> None:
    models = written(tmp_path, family)
    for name in ("base", "a", "b"):
        if name in (who, *who * (who != "base")):
            changed(models / name, change)
    resident = losses(models, "resident")
    assert resident == losses(models, "streamed") == merged_then_loaded(models)


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_a_folder_without_an_experts_tensor_is_refused_by_name(tmp_path: Path, mode: str) -> None:
    models = written(tmp_path, "qwen3_moe")
    lost = "model.layers.1.mlp.experts.2.up_proj.weight"
    for name in ("base", "a", "b"):
        changed(models / name, lambda state: {key: value for key, value in state.items() if key != lost})
    with pytest.raises(
        CheckpointError, match=r"fill \d+ of \d+ elements of .*layers\.1\.mlp\.experts\.gate_up"
    ):
        losses(models, mode)


def test_what_makes_a_merge_doubtful_is_said_as_in_merging(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = written(tmp_path, "llama")
    config = models / "a" / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.1'))
    doubt = r"a: config.json differs from that of .*base, .*: rms_norm_eps is 0.1 \(there 1e-06\)"
    losses(models, "resident")
    assert any(re.search(doubt, record.getMessage()) for record in caplog.records)
    tasks = [f"lm:{models / 'text.txt'}"]
    for verb in (m2m.score, m2m.race, m2m.search):
        with pytest.raises(CheckpointError, match=doubt + r".*strict: without it these are warnings"):
            verb(
                base=models / "base", experts=[models / "a"], tasks=tasks, out=models / "strict.csv",
                strict=True,
            )  # fmt: skip
    with pytest.raises(CheckpointError, match=doubt + r".*strict: without it these are warnings"):
        m2m.mix(None, models / "mix", base=models / "base", experts=[models / "a"], tasks=tasks, strict=True)
    assert not [*models.glob("strict.*"), *models.glob("mix")]
