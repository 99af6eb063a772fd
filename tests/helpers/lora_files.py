"""Small base models and adapters on disk, for the tests of LoRA experts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from m2m.checkpoint import save

State = dict[str, Tensor]


def save_adapter(folder: Path, tensors: Mapping[str, Tensor], **config: object) -> Path:
    """Write an adapter as PEFT does; names go without the prefix, `q.A` and `q.B` are q's factors."""
    roles = {"A": "lora_A.weight", "B": "lora_B.weight"}
    state = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        state[f"base_model.model.{module}.{roles.get(leaf, leaf)}"] = tensor
    save(state, folder)
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "manifest.json").unlink()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config})
    )
    return folder


def factors(
    module: str,
    rows: int,
    columns: int,
    rank: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
    *,
    dora: bool = False,
) -> State:
    """Draw the factors of one linear module, and with `dora` its magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        f"{module}.A": torch.randn(rank, columns, generator=generator).to(dtype),
        f"{module}.B": torch.randn(rows, rank, generator=generator).to(dtype) / 16,
    }
    if dora:
        drawn[f"{module}.lora_magnitude_vector"] = 1 + torch.rand(rows, generator=generator).to(dtype)
    return drawn
