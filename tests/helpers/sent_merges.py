"""Merges whose result is sent to a store on this disk: two small models, and what may happen on the way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.disk_store import ROOT, register
from helpers.packed_executor import Packed

from m2m.checkpoint import Checkpoint, save
from m2m.merging import merge

LAYERS, WIDTH = 6, 64
TENSOR = WIDTH * WIDTH * 4
#: A shard for each two layers.
SHARDS = {"shard_size": 2 * TENSOR}
#: By one process, and by workers.
WAYS = pytest.mark.parametrize("way", [{}, {"executor": Packed(1)}], ids=["alone", "workers"])


def use_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store's objects lie in `folder/store`, and parts of models in `folder/cache`."""
    monkeypatch.setenv("M2M_REMOTE_CACHE", str(folder / "cache"))
    monkeypatch.setenv(ROOT, str(folder / "store"))
    monkeypatch.setattr("m2m.checkpoint.remote.requests.PAUSES", (0.0,))
    register()


def write_models(folder: Path) -> Path:
    """Write two models of six layers, `m0` and `m1`."""
    generator = torch.Generator().manual_seed(5)
    for number in range(2):
        state = {f"layers.{i}.weight": torch.randn(WIDTH, WIDTH, generator=generator) for i in range(LAYERS)}
        place = save(state, folder / f"m{number}")
        (place / "config.json").write_text('{"model_type": "tiny"}')
    return folder


def recipe(models: Path) -> dict[str, Any]:
    """Average the two models."""
    experts = [{"model": str(models / f"m{i}"), "parameters": {"weight": 0.5}} for i in range(2)]
    return {"merge_method": "linear", "models": experts}


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(models: Path, layer: int = LAYERS - 1) -> None:
    """Put a NaN into a layer."""
    weight = Checkpoint(models / "m1").tensors[f"layers.{layer}.weight"]
    with weight.file.open("r+b") as file:
        file.seek(weight.offset)
        file.write(b"\xff" * 4)


def stop_late(models: Path, out: str, **way: Any) -> None:
    """Stop in the last shard: the first is there, and of workers' the second."""

    def stop(done: int, total: int, what: str) -> None:
        if done > 0.9 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(models), out, progress=stop, **way, **SHARDS)
    for thread in threading.enumerate():  # what was being sent comes to its end
        if thread.name == "remote":
            thread.join()
