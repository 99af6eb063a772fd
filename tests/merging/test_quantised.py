"""Weights packed into few bits: no average of their numbers, stacking whole layers as ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from torch import Tensor

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError
from m2m.merging import merge
from m2m.scoring.models import open_models

#: Tensors of one linear layer [8, 8] as its quantisers store it, and what config.json says of the method.
PACKED: dict[str, tuple[dict[str, Tensor], str | None]] = {
    "gptq": ({"qweight": torch.ones(1, 8, dtype=torch.int32), "scales": torch.ones(1, 8)}, "gptq"),
    "gptq of old": ({"qweight": torch.ones(1, 8, dtype=torch.int32), "scales": torch.ones(1, 8)}, None),
    "bitsandbytes": ({"weight": torch.ones(32, 1, dtype=torch.uint8), "weight.absmax": torch.ones(1)},
                     "bitsandbytes"),
    "8 bits": ({"weight": torch.ones(8, 8, dtype=torch.int8), "SCB": torch.ones(8)}, "bitsandbytes"),
    "mxfp4": ({"p_blocks": torch.ones(8, 1, 4, dtype=torch.uint8), "p_scales": torch.ones(8, 1)}, None),
    "fp8": ({"weight": torch.ones(8, 8).to(torch.float8_e4m3fn), "weight_scale_inv": torch.ones(1)}, "fp8"),
}  # fmt: skip


def write(folder: Path, kind: str) -> Path:
    packed, method = PACKED[kind]
    save({f"layers.0.q.{name}": tensor for name, tensor in packed.items()}, folder)
    about = {"quantization_config": {"quant_method": method}} if method else {}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def linear(*models: Path) -> dict[str, object]:
    entries = [{"model": str(model), "parameters": {"weight": 0.5}} for model in models]
    return {"merge_method": "linear", "models": entries}


@pytest.mark.parametrize("kind", PACKED)
def test_quantised_models_are_not_averaged(tmp_path: Path, kind: str) -> None:
    models = [write(tmp_path / name, kind) for name in "ab"]
    with pytest.raises(CheckpointError, match=r"a: is quantised.* such numbers have no average; merge the"):
        merge(linear(*models), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match=r"is quantised"), open_models(models[0], {"b": models[1]}):
        pass


def test_a_quantised_expert_of_a_plain_base_is_called_so(tmp_path: Path) -> None:
    plain = save({"layers.0.q.weight": torch.ones(8, 8)}, tmp_path / "plain")
    with pytest.raises(CheckpointError, match=r"b: is quantised \(bitsandbytes\): 'layers.0.q.weight' is U8"):
        merge(linear(plain, write(tmp_path / "b", "bitsandbytes")), tmp_path / "out")


def test_an_adapter_does_not_go_on_packed_weights(tmp_path: Path) -> None:
    base = write(tmp_path / "base", "gptq")
    adapter = save_adapter(tmp_path / "adapter", factors("layers.0.q", 8, 8, 4, seed=1))
    whole = {"merge_method": "passthrough", "models": [{"model": f"{base}+{adapter}"}]}
    with pytest.raises(CheckpointError, match=r"base: is quantised \(gptq\)"):
        merge(whole, tmp_path / "out")


def test_layers_of_quantised_models_are_stacked(tmp_path: Path) -> None:
    models = [write(tmp_path / name, "gptq") for name in "ab"]
    slices = [{"sources": [{"model": str(model), "layer_range": [0, 1]}]} for model in models]
    merge({"merge_method": "passthrough", "slices": slices}, tmp_path / "out")
    got = Checkpoint(tmp_path / "out").state()
    assert torch.equal(got["layers.1.q.qweight"], PACKED["gptq"][0]["qweight"])


def test_whole_numbers_of_other_kinds_are_no_packed_weights(tmp_path: Path) -> None:
    states = [{"a.weight": torch.full((2,), float(at)), "a.ids": torch.arange(5)} for at in range(2)]
    merge(linear(*(save(state, tmp_path / f"{at}") for at, state in enumerate(states))), tmp_path / "out")
    assert Checkpoint(tmp_path / "out").read("a.ids").tolist() == [0, 1, 2, 3, 4]
