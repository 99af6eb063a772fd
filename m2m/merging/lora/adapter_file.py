"""An adapter's folder as PEFT reads it, written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.checkpoint.manifest import write_manifest
from m2m.checkpoint.writer import Entry, plan_layout, write_shard
from m2m.merging.lora.config import NAME

if TYPE_CHECKING:
    from torch import Tensor


class NewAdapter(Protocol):
    """An adapter that is to be written."""

    def entries(self, dtype: str) -> list[Entry]:
        """The adapter's tensors: names as PEFT writes them, and shapes."""

    def tensor(self, name: str, dtype: str) -> Tensor:
        """One of them, rounded to `dtype` once."""

    def config(self) -> dict[str, Any]:
        """What `adapter_config.json` holds."""


def write_adapter(
    adapter: NewAdapter,
    folder: Path,
    dtype: str,
    metadata: Mapping[str, str],
    more: Mapping[str, str] | None = None,
) -> int:
    """Fill an adapter's folder; `more` are further files by name. Returns bytes of its tensors."""
    entries = adapter.entries(dtype)
    layout = plan_layout(entries, {"format": "pt", **metadata})
    with (folder / ADAPTER_NAMES[0]).open("wb") as file:
        write_shard(layout.shards[0], lambda name: adapter.tensor(name, dtype), file)
    config = json.dumps(adapter.config(), indent=2, ensure_ascii=False)
    for name, text in {NAME: config, **(more or {})}.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    write_manifest(folder)
    return sum(entry.nbytes for entry in entries)


def plain_config(
    ranks: Mapping[str, int], about: Mapping[str, Any], in_out: bool, whole: Sequence[str] = ()
) -> dict[str, Any]:
    """What `adapter_config.json` says of factors with a scale of one: `lora_alpha` is r, by module."""
    rank = max(ranks.values())
    # PEFT reads patterns as regular expressions; `^` keeps a name from matching the end of a longer one.
    pattern = {f"^{module}": own for module, own in ranks.items() if own != rank}
    return {
        **about,
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": in_out,
        "target_modules": list(ranks),
        "modules_to_save": list(whole) or None,
        "bias": "none",
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "inference_mode": True,
    }
