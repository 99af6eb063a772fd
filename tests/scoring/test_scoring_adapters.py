"""`m2m.score` with LoRA adapters as experts: the scores of `m2m merge` to disk and loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from helpers.tiny_models import write_llama
from hypothesis import given
from hypothesis import strategies as st

import m2m
from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, ConfigError
from m2m.merging.lora import AdaptedCheckpoint, Adapter
from m2m.merging.lora.products import formed, read_term, sum_terms_into
from m2m.mixture import Mixture
from m2m.scoring.table import ScoreTable

pytest.importorskip("transformers", reason="needs the extra `huggingface`")

ATTENTION = "model.layers.0.self_attn"
MIXTURE = {"low": 0.3, "high": 0.45, "whole": 0.25}


def write_adapters(root: Path, dtype: torch.dtype) -> Path:
    """Write a base model, two adapters of different tensors, a whole expert and a text."""
    write_llama(root / "base", dtype=dtype)
    write_llama(root / "whole", seed=1, noise=0.05, dtype=dtype)
    first = factors(f"{ATTENTION}.q_proj", 16, 16, 4, seed=2)
    save_adapter(root / "low", first | factors("model.layers.1.mlp.up_proj", 32, 16, 4, seed=3))
    second = factors(f"{ATTENTION}.q_proj", 16, 16, 4, seed=4, dora=True)
    own_norm = {"model.norm.weight": torch.full((16,), 0.75)}
    save_adapter(root / "high", second | own_norm, lora_alpha=3, modules_to_save=["norm"], use_dora=True)
    (root / "text.txt").write_text("A text that is longer than one window of sixteen tokens.")
    return root


def score(root: Path, experts: dict[str, Path], out: Path, **more: object) -> dict[str, list[float]]:
    out.mkdir(exist_ok=True)
    options = {"tasks": [f"lm:{root / 'text.txt'}"], "context": 16, "mode": "resident"} | more
    m2m.score(root / "base", experts, out=out / "scores.csv", **options)
    with ScoreTable(out / "scores.sqlite") as table:
        return {row.candidate: row.examples.tolist() for row in table.rows(metric="loss")}


def merged(root: Path, folder: Path, weights: dict[str, float]) -> Path:
    """Merge as `m2m merge` does, to disk."""
    models = [{"model": str(root / name), "parameters": {"weight": w}} for name, w in weights.items()]
    recipe = {"merge_method": "linear", "base_model": str(root / "base"), "models": models}
    (folder / "recipe.yml").write_text(json.dumps(recipe | {"parameters": {"normalize": False}}))
    m2m.merge(folder / "recipe.yml", folder / "merged")
    return folder / "merged"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_those_of_merging_to_disk_and_loading(tmp_path: Path, dtype: torch.dtype) -> None:
    root = write_adapters(tmp_path, dtype)
    mixture = Mixture.normalised(MIXTURE)
    experts = {name: root / name for name in MIXTURE}
    got = score(root, experts, tmp_path / "live", candidates=[mixture])
    weights = mixture.shares
    wanted = score(root, {"merged": merged(root, tmp_path, weights)}, tmp_path / "disk")
    assert got[mixture.label] == wanted["merged"]
    base = score(root, {"base": root / "base"}, tmp_path / "plain")
    assert got[mixture.label] != base["base"]


def test_subsets_of_adapters_alone(tmp_path: Path) -> None:
    root = write_adapters(tmp_path, torch.float32)
    got = score(root, {name: root / name for name in ("low", "high")}, tmp_path / "live")
    assert list(got) == ["low", "high", "low+high"]
    wanted = merged(root, tmp_path, {"low": 0.5, "high": 0.5})
    assert got["low+high"] == score(root, {"merged": wanted}, tmp_path / "disk")["merged"]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT's own use of transformers
def test_what_peft_writes_is_scored(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    transformers = pytest.importorskip("transformers")
    root = write_adapters(tmp_path, torch.float32)
    model = transformers.AutoModelForCausalLM.from_pretrained(root / "base")
    config = peft.LoraConfig(
        target_modules=["q_proj", "down_proj"], r=3, lora_alpha=5, init_lora_weights=False
    )
    torch.manual_seed(5)
    peft.get_peft_model(model, config).save_pretrained(root / "tuned")
    got = score(root, {"tuned": root / "tuned", "low": root / "low"}, tmp_path / "live")
    wanted = merged(root, tmp_path, {"tuned": 0.5, "low": 0.5})
    assert got["tuned+low"] == score(root, {"merged": wanted}, tmp_path / "disk")["merged"]


def test_another_adapter_under_the_same_name_is_scored_again(tmp_path: Path) -> None:
    root = write_adapters(tmp_path, torch.float32)
    first = score(root, {"low": root / "low"}, tmp_path / "live")
    config = root / "low" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 6'))
    with pytest.raises(ConfigError, match="adapters need a whole model"):  # so it is not there already
        score(root, {"low": root / "low"}, tmp_path / "live", mode="streamed")
    (tmp_path / "live" / "scores.sqlite").unlink()
    assert score(root, {"low": root / "low"}, tmp_path / "live") != first


def test_streaming_and_broken_adapters_are_refused(tmp_path: Path) -> None:
    root = write_adapters(tmp_path, torch.float32)
    with pytest.raises(ConfigError, match=r"mode=resident .* or write each adapted expert with `m2m merge`"):
        score(root, {"low": root / "low"}, tmp_path / "live", mode="streamed")
    bad = factors(f"{ATTENTION}.q_proj", 16, 16, 4, seed=2)
    bad[f"{ATTENTION}.q_proj.A"][1, 2] = torch.nan
    save_adapter(root / "bad", bad)
    with pytest.raises(CheckpointError, match=r"bad.*q_proj\.lora_A.* is not finite"):
        score(root, {"bad": root / "bad"}, tmp_path / "live")
    assert not list((tmp_path / "live").glob("scores*"))


#: Rows, columns and rank; a layer that stores its transpose; the dtype of both factors.
any_factors = given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    seed=st.integers(0, 99),
    fan=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)


@any_factors
def test_scaled_rows_have_the_bits_of_their_definition(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    seed: int,
    fan: bool,
    dtype: torch.dtype,
) -> None:
    rows, columns, rank = shape
    root = tmp_path_factory.mktemp("dora")
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(columns if fan else rows, rows if fan else columns, generator=generator)
    save({"q.weight": weight.to(dtype)}, root / "base")
    tensors = factors("q", rows, columns, rank, seed, dtype, dora=True)
    save_adapter(root / "adapter", tensors, r=rank, fan_in_fan_out=fan, use_dora=True)
    expert = AdaptedCheckpoint(Checkpoint(root / "base"), Adapter(root / "adapter"))
    tensor = expert.additions["q.weight"].on(expert.tensors["q.weight"], "F64")
    assert torch.equal(formed(tensor), tensor.form())


@any_factors
def test_products_have_the_bits_of_their_definition(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    seed: int,
    fan: bool,
    dtype: torch.dtype,
) -> None:
    rows, columns, rank = shape
    root = tmp_path_factory.mktemp("product")
    save({"q.weight": torch.zeros(columns, rows) if fan else torch.zeros(rows, columns)}, root / "base")
    tensors = factors("q", rows, columns, rank, seed, dtype)
    tensors["q.A"][0, 0] = 0.0  # the kernel leaves out what has no weight
    save_adapter(root / "adapter", tensors, r=rank, fan_in_fan_out=fan)
    expert = AdaptedCheckpoint(Checkpoint(root / "base"), Adapter(root / "adapter"))
    source = expert.additions["q.weight"].source
    product = torch.empty(source.shape, dtype=torch.float64)
    sum_terms_into([product], [read_term(source)], torch.ones(1, 1, dtype=torch.float64))
    assert torch.equal(product, source.form())
