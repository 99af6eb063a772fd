"""`m2m extract-lora`: the adapter that comes nearest to a fine-tuned model, and the errors that it states."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m.checkpoint import Checkpoint, save
from m2m.cli import main
from m2m.errors import CheckpointError, ConfigError
from m2m.merging import merge
from m2m.merging.extract import extract_lora
from m2m.merging.lora import low_rank
from m2m.merging.lora.low_rank import of_energy, truncated_svd

State = dict[str, Tensor]
Q = "model.layers.0.q_proj"
#: What float32 may lose of a decomposition: LAPACK's backward error is a small multiple of max(m, n) · u.
FLOAT32 = 60 * 2.0**-24 * 16


def base_state() -> State:
    random = torch.Generator().manual_seed(0)
    return {
        "model.embed_tokens.weight": torch.randn(30, 12, generator=random),
        f"{Q}.weight": torch.randn(20, 12, generator=random),
        "model.layers.0.o_proj.weight": torch.randn(12, 20, generator=random),
        "model.norm.weight": torch.ones(12),
        "steps": torch.tensor(3),
    }


def tuned(base: State) -> State:
    """Change q_proj by rank 4, o_proj by noise, and the norm."""
    parts = factors(Q, rows=20, columns=12, rank=4, seed=1)
    random = torch.Generator().manual_seed(2)
    return base | {
        f"{Q}.weight": base[f"{Q}.weight"] + parts[f"{Q}.B"] @ parts[f"{Q}.A"],
        "model.layers.0.o_proj.weight": base["model.layers.0.o_proj.weight"]
        + torch.randn(12, 20, generator=random) / 100,
        "model.norm.weight": base["model.norm.weight"] + 0.01,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(base_state(), tmp_path / "base")
    save(tuned(base_state()), tmp_path / "tuned")
    return tmp_path


def test_a_change_of_low_rank_comes_back(folder: Path) -> None:
    found = extract_lora(folder / "base", folder / "tuned", folder / "out", rank=4, whole=["*norm*"])
    q, o = found.tensors
    assert (q.name, q.rank, o.rank) == (f"{Q}.weight", 4, 4)
    # The change was rounded when it was added to weights near 1: relative to ‖τ‖ that is what is left.
    assert q.error < 1e-4
    assert 0.5 < o.error < 1
    assert found.whole == ("model.norm.weight",)
    assert found.left == ()
    recipe = {
        "merge_method": "task_arithmetic", "base_model": str(folder / "base"),
        "models": [{"model": str(folder / "out"), "parameters": {"weight": 1}}],
    }  # fmt: skip
    merge(recipe, folder / "merged")
    got, wanted = Checkpoint(folder / "merged").state(), Checkpoint(folder / "tuned").state()
    torch.testing.assert_close(got[f"{Q}.weight"], wanted[f"{Q}.weight"])
    assert torch.equal(got["model.norm.weight"], wanted["model.norm.weight"])
    missed = sum(float((got[n].double() - wanted[n].double()).square().sum()) for n in wanted)
    moved = sum(float((wanted[n].double() - base_state()[n].double()).square().sum()) for n in wanted)
    assert found.error == pytest.approx(math.sqrt(missed / moved), rel=1e-3)
    assert json.loads((folder / "out" / "extraction.json").read_text())["error"] == found.error


def test_the_error_is_the_least_that_the_rank_allows(folder: Path) -> None:
    change = (tuned(base_state())["model.layers.0.o_proj.weight"]).double()
    change -= base_state()["model.layers.0.o_proj.weight"].double()
    sigma = torch.linalg.svdvals(change)
    for rank in (1, 3, 7):
        found = extract_lora(folder / "base", folder / "tuned", folder / f"out{rank}", rank=rank)
        best = math.sqrt(float(sigma[rank:].square().sum() / sigma.square().sum()))
        assert found.tensors[1].error == pytest.approx(best, rel=1e-4)
        assert found.left == ("model.norm.weight",)


def test_energy_takes_as_few_as_hold_it(folder: Path) -> None:
    found = extract_lora(folder / "base", folder / "tuned", folder / "out", energy=0.8)
    for tensor in found.tensors:
        assert tensor.error**2 <= 0.2
    fewer = extract_lora(
        folder / "base", folder / "tuned", folder / "fewer", rank=found.tensors[1].rank - 1, only=["*o_proj*"]
    )
    assert fewer.tensors[0].error ** 2 > 0.2
    assert fewer.left == (f"{Q}.weight", "model.norm.weight")
    capped = extract_lora(folder / "base", folder / "tuned", folder / "capped", energy=1.0, rank=2)
    assert [tensor.rank for tensor in capped.tensors] == [2, 2]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 90), columns=st.integers(1, 90), rank=st.integers(1, 20), seed=st.integers(0, 2**16)
)
def test_a_random_range_is_no_better_than_the_best_and_finds_low_ranks(
    rows: int, columns: int, rank: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    rank = min(rank, rows, columns)
    low = torch.randn(rows, rank, generator=random) @ torch.randn(rank, columns, generator=random)
    noisy = low + torch.randn(rows, columns, generator=random) / 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low_rank, "_EXACT_SIDE", 0)
        found = truncated_svd(low, rank, seed)
        rest = low - found.u * found.s @ found.vh
        assert rest.norm() <= FLOAT32 * low.norm()
        near = truncated_svd(noisy, rank, seed)
    best = truncated_svd(noisy, rank, seed)
    errors = [(noisy.double() - (each.u * each.s @ each.vh).double()).norm() for each in (near, best)]
    assert errors[0] >= errors[1] * (1 - FLOAT32) - FLOAT32 * noisy.norm()
    some = of_energy(noisy, 0.9, most=90, seed=seed)
    assert some.s.double().square().sum() >= (0.9 - FLOAT32) * noisy.double().square().sum()
    assert len(some.s) == 1 or some.s[:-1].double().square().sum() < 0.9 * noisy.double().square().sum()


@pytest.mark.filterwarnings("ignore")
def test_layers_stored_the_other_way_round_and_peft(folder: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder / "gpt2")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "attn.c_proj.weight" in name or "mlp.c_fc.weight" in name:
                weight += torch.randn(weight.shape[0], 3) @ torch.randn(3, weight.shape[1]) / 20
    model.save_pretrained(folder / "gpt2-tuned")
    found = extract_lora(folder / "gpt2", folder / "gpt2-tuned", folder / "adapter", rank=3)
    assert {tensor.rank for tensor in found.tensors} == {3}
    assert found.left == ()
    fresh = transformers.AutoModelForCausalLM.from_pretrained(folder / "gpt2")
    adapted = peft.PeftModel.from_pretrained(fresh, folder / "adapter").merge_and_unload()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(adapted.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_extracted_is_one_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match="no linear layer of it differs"):
        extract_lora(folder / "base", folder / "base", folder / "out")
    with pytest.raises(ConfigError, match=r"energy must be a share above 0 and at most 1, got 1\.5"):
        extract_lora(folder / "base", folder / "tuned", folder / "out", energy=1.5)
    with pytest.raises(ConfigError, match="'int8' cannot hold factors"):
        extract_lora(folder / "base", folder / "tuned", folder / "out", dtype="int8")
    save(base_state() | {f"{Q}.weight": torch.full((20, 12), math.nan)}, folder / "nan")
    with pytest.raises(CheckpointError, match=r"tensor 'model.layers.0.q_proj.weight' is NaN"):
        extract_lora(folder / "base", folder / "nan", folder / "out")
    assert main(["extract-lora", str(folder / "base"), str(folder / "tuned"), str(folder / "base")]) == 2
    assert "base" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_the_command_prints_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["extract-lora", *(str(folder / name) for name in ("base", "tuned", "out")), "--rank", "2"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "model.layers.0.o_proj.weight  2" in text
    assert "left out though they differ: model.norm.weight (--whole writes them)" in text
