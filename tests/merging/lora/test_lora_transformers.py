"""Adapters that PEFT writes for models of transformers, held against its own merge_and_unload."""

from __future__ import annotations

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError
from m2m.merging import merge
from m2m.merging.lora import AdaptedCheckpoint, Adapter, lora_gram
from m2m.merging.lora.terms import merge_adapted
from m2m.scoring.adapted_sums import adapted_sums
from m2m.testing.tolerance import gamma

peft = pytest.importorskip("peft", reason="PEFT is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

#: Terms of a product of rank 4, with room for what PEFT's own roundings in float32 add.
TERMS = 32
SIZES = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16}


def tiny(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=24, n_embd=16, n_layer=1, n_head=4, n_positions=16, bos_token_id=0, eos_token_id=0
        )
    elif kind == "moe":
        experts = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "head_dim": 4}
        config = transformers.Qwen3MoeConfig(**SIZES, **HEADS, **experts, decoder_sparse_step=1)
    elif kind == "gpt_oss":  # stores [experts, in, out], square in down_proj as the published one
        sizes = {**SIZES, "intermediate_size": 16, "num_local_experts": 3, "num_experts_per_tok": 2}
        config = transformers.GptOssConfig(**sizes, **HEADS, head_dim=4)
    elif kind == "llama4":
        experts = {"num_local_experts": 3, "intermediate_size_mlp": 24, "interleave_moe_layer_step": 1}
        config = transformers.Llama4TextConfig(**SIZES, **HEADS, **experts, head_dim=4)
    else:
        config = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[kind](
            **SIZES, **HEADS, **more
        )
    return transformers.AutoModelForCausalLM.from_config(config)


def adapt(base: Any, folder: Path, seed: int = 1, tokens: int | None = None, **lora: Any) -> Any:
    """Save a base model and an adapter that PEFT drew for it; returns what PEFT merges them to."""
    base.save_pretrained(folder / "base")
    model = deepcopy(base)
    if tokens:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **lora))
    torch.manual_seed(seed)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) / 8
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "base")
    adapted.base_model.model.name_or_path = str(folder / "base")
    adapted.save_pretrained(folder / "lora")
    return adapted.merge_and_unload().eval()


def merge_one(folder: Path, method: str = "passthrough", **options: Any) -> Path:
    entry: dict[str, Any] = {"model": str(folder / "lora")}
    recipe = {"merge_method": method, "base_model": str(folder / "base"), "models": [entry]}
    if method == "task_arithmetic":
        entry["parameters"] = {"weight": 1.0}
    merge(recipe, folder / "out", **options)
    return folder / "out"


def assert_same_weights(folder: Path, wanted: Any) -> Any:
    """Load a merged folder; each weight must be PEFT's, but for roundings of the float32 products."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs: dict[str, Tensor] = wanted.state_dict()
    ours = got.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        size = theirs[name].abs().max() + 1
        assert tensor.shape == theirs[name].shape, name
        assert (tensor - theirs[name]).abs().max() <= gamma(TERMS, 2.0**-24) * size, name
    return got


@pytest.mark.parametrize(
    ("kind", "lora"),
    [
        ("gpt2", {"target_modules": ["attn.c_proj", "c_fc"], "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["attn.c_proj"]}),
        ("moe", {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]}),
        (
            "moe",
            {
                "target_modules": ["q_proj"],
                "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
            },
        ),
        ("gpt_oss", {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]}),
        ("gpt_oss", {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}),
        ("llama4", {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}),
        ("gpt2", {"target_modules": ["attn.c_proj", "lm_head"]}),
        ("qwen2", {"target_modules": ["q_proj", "embed_tokens"], "tie": True}),
        ("qwen2", {"target_modules": ["q_proj", "lm_head"], "tie": True}),
        ("llama", {"target_modules": ["o_proj", "embed_tokens", "lm_head"]}),
        ("llama", {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
        ("qwen2", {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"], "tie": True}),
        (
            "qwen2",
            {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "lm_head"], "tie": True},
        ),
    ],
)
def test_a_merge_of_one_adapter_is_what_peft_makes_of_it(
    tmp_path: Path, kind: str, lora: dict[str, Any]
) -> None:
    lora = dict(lora)
    tie = lora.pop("tie", None)
    wanted = adapt(tiny(kind, **({} if tie is None else {"tie_word_embeddings": tie})), tmp_path, **lora)
    assert_same_weights(merge_one(tmp_path), wanted)


@pytest.mark.parametrize("tokens", [29, 21])
@pytest.mark.parametrize("method", ["passthrough", "task_arithmetic", "ties"])
def test_rows_for_new_tokens_are_the_adapters(tmp_path: Path, method: str, tokens: int) -> None:
    saved = ["embed_tokens", "lm_head"]
    base = tiny("llama")
    wanted = adapt(base, tmp_path, tokens=tokens, target_modules=["o_proj"], modules_to_save=saved)
    if method == "ties":  # of one expert with nothing trimmed is the expert
        recipe = {
            "merge_method": "ties",
            "base_model": str(tmp_path / "base"),
            "models": [{"model": str(tmp_path / "lora"), "parameters": {"weight": 1.0, "density": 1.0}}],
        }
        merge(recipe, tmp_path / "out")
    else:
        merge_one(tmp_path, method)
    got = assert_same_weights(tmp_path / "out", wanted)
    assert got.config.vocab_size == tokens


def test_a_tied_head_that_is_adapted_alone_is_doubted(tmp_path: Path) -> None:
    adapt(tiny("gpt2"), tmp_path, target_modules=["lm_head"])
    with pytest.raises(CheckpointError, match=r"adapts 'lm_head'.* embedding and head in one"):
        merge_one(tmp_path, strict=True)
    assert not (tmp_path / "out").exists()


def test_an_adapter_without_a_head_of_its_own_leaves_the_model_tied(tmp_path: Path) -> None:
    base = tiny("qwen2", tie_word_embeddings=True)
    adapt(base, tmp_path, target_modules=["o_proj"])
    out = Checkpoint(merge_one(tmp_path))
    assert "lm_head.weight" not in out.tensors
    assert out.config["tie_word_embeddings"] is True


def test_adapters_that_bring_other_new_rows_are_refused(tmp_path: Path) -> None:
    saved = ["embed_tokens", "lm_head"]
    for seed in (1, 2):
        adapt(
            tiny("llama"),
            tmp_path,
            seed=seed,
            tokens=29,
            target_modules=["o_proj"],
            modules_to_save=saved,
        )
        (tmp_path / "lora").rename(tmp_path / f"lora{seed}")
    entries = [{"model": str(tmp_path / f"lora{n}"), "parameters": {"weight": 0.5}} for n in (1, 2)]
    recipe = {"merge_method": "linear", "base_model": str(tmp_path / "base"), "models": entries}
    with pytest.raises(CheckpointError, match=r"lora2/.* for tokens that .*base has not, and .*lora1/"):
        merge(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_unties_is_scored_after_merging(tmp_path: Path) -> None:
    saved = ["embed_tokens", "lm_head"]
    base = tiny("qwen2", tie_word_embeddings=True)
    adapt(base, tmp_path, target_modules=["o_proj"], modules_to_save=saved)
    expert = AdaptedCheckpoint(Checkpoint(tmp_path / "base"), Adapter(tmp_path / "lora"))
    with pytest.raises(CheckpointError, match=r"holds 'lm_head.weight' apart from"):
        _ = expert.tensors


def test_an_adapter_on_a_model_that_is_stored_otherwise_than_the_base_counts(tmp_path: Path) -> None:
    # Both are tied; the one with the adapter stores its head once more, so its tensors get the base's names.
    base = tiny("qwen2", tie_word_embeddings=True)
    wanted = adapt(base, tmp_path, target_modules=["o_proj"])
    other = tmp_path / "other"
    base.save_pretrained(other)
    state = Checkpoint(other).state()
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    entry = {"model": f"{other}+{tmp_path / 'lora'}", "parameters": {"weight": 1.0}}
    recipe = {"merge_method": "linear", "base_model": str(tmp_path / "base"), "models": [entry]}
    merge(recipe, tmp_path / "out")
    assert_same_weights(tmp_path / "out", wanted)


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear"])
def test_an_adapter_on_text_and_vision_towers_finds_both(tmp_path: Path, targets: Any) -> None:
    vision = transformers.CLIPVisionConfig(
        image_size=8, patch_size=4, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    base = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(text_config=transformers.LlamaConfig(**SIZES, **HEADS), vision_config=vision)
    )
    wanted = adapt(base, tmp_path, target_modules=targets)
    wanted.save_pretrained(tmp_path / "wanted")
    ours, theirs = Checkpoint(merge_one(tmp_path)).state(), Checkpoint(tmp_path / "wanted").state()
    before = Checkpoint(tmp_path / "base").state()
    assert ours.keys() == theirs.keys()
    changed = {name for name, tensor in ours.items() if not torch.equal(tensor, before[name])}
    assert {name.partition(".")[0] for name in changed} >= {"language_model", "vision_tower"}
    for name, tensor in ours.items():
        size = theirs[name].abs().max() + 1
        assert (tensor - theirs[name]).abs().max() <= gamma(TERMS, 2.0**-24) * size, name


def test_names_that_no_module_of_the_model_has_are_listed(tmp_path: Path) -> None:
    adapt(tiny("llama"), tmp_path, target_modules=["o_proj"])
    tiny("gpt2").save_pretrained(tmp_path / "other")
    recipe = {"merge_method": "passthrough", "models": [{"model": f"{tmp_path}/other+{tmp_path}/lora"}]}
    with pytest.raises(CheckpointError, match=r"adapts model.layers.0.self_attn.o_proj.weight, which "):
        merge(recipe, tmp_path / "out")


def test_fused_experts_stream_the_bits_of_their_definition(tmp_path: Path) -> None:
    parameters = ["experts.gate_up_proj", "experts.down_proj"]
    adapt(tiny("moe"), tmp_path, target_modules=["q_proj"], target_parameters=parameters)
    expert = AdaptedCheckpoint(Checkpoint(tmp_path / "base"), Adapter(tmp_path / "lora"))
    out = Checkpoint(merge_one(tmp_path))
    adapted = [name for name in expert.additions if ".experts." in name]
    assert len(adapted) == 3 * 3
    for name in out.names:
        assert torch.equal(out.read(name), expert.read(name)), name
    with pytest.raises(CheckpointError, match="adapts fused parameters"):
        lora_gram([expert.adapter])


EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]


def two_adapters(folder: Path) -> list[dict[str, Any]]:
    """Two adapters of the experts that gpt-oss stores in one tensor, and the entries of a recipe of both."""
    for seed, name in enumerate(("a", "b")):
        adapt(tiny("gpt_oss"), folder, seed, target_modules=["q_proj"], target_parameters=EXPERTS)
        (folder / "lora").rename(folder / name)
    return [{"model": str(folder / name), "parameters": {"weight": 0.3}} for name in "ab"]


@pytest.mark.parametrize("chunk", ["64KiB", "64MiB"])
def test_experts_stored_in_one_tensor_merge_as_their_definition(tmp_path: Path, chunk: str) -> None:
    models = two_adapters(tmp_path)
    base = Checkpoint(tmp_path / "base")
    recipe = {"merge_method": "task_arithmetic", "base_model": str(base.path), "models": models}
    merge(recipe, tmp_path / "out", memory=chunk, dtype="float32")
    got = Checkpoint(tmp_path / "out").state()
    experts = [(AdaptedCheckpoint(base, Adapter(tmp_path / name)), 0.3) for name in "ab"]
    assert any("experts" in name for name in experts[0][0].additions)
    for name, tensor in got.items():
        assert torch.equal(tensor, merge_adapted(experts, name, base=base, out_dtype=torch.float32)), name


def test_experts_stored_in_one_tensor_are_scored_with_the_bits_of_a_merge(tmp_path: Path) -> None:
    models = two_adapters(tmp_path)
    base = Checkpoint(tmp_path / "base")
    merge({"merge_method": "linear", "base_model": str(base.path), "models": models,
           "parameters": {"normalize": False}}, tmp_path / "out")  # fmt: skip
    sums = adapted_sums(base, [AdaptedCheckpoint(base, Adapter(tmp_path / name)) for name in "ab"])
    for name, wanted in Checkpoint(tmp_path / "out").state().items():
        out = torch.empty_like(wanted)
        sums[name].write([out], np.array([[0.3, 0.3]]), 2)
        assert torch.equal(out, wanted), name


def test_methods_that_need_the_expert_say_how_to_get_it(tmp_path: Path) -> None:
    models = two_adapters(tmp_path)
    recipe = {"merge_method": "ties", "base_model": str(tmp_path / "base"), "models": models}
    with pytest.raises(
        CheckpointError, match=r"write the adapted model first \(passthrough\), and merge that"
    ):
        merge(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
