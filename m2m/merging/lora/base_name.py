"""Whether an adapter was trained on a base model, by the name that it gives."""

from __future__ import annotations

from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.errors import CheckpointError
from m2m.merging.lora.adapter import Adapter


def names_base(base: Checkpoint, adapter: Adapter) -> bool:
    """Whether an adapter says that it was trained on this base model, or says nothing."""
    wanted = adapter.config.base_model
    known = (str(base.path), str(base.path.resolve()), base.config.get("_name_or_path"))
    return wanted is None or _short(wanted) in map(_short, known)


def check_base(base: Checkpoint, adapter: Adapter) -> None:
    """Refuse a base model that is not the one an adapter names."""
    if not names_base(base, adapter):
        raise CheckpointError(
            f"{adapter.config.path}: was trained on {adapter.config.base_model!r}, the base model here is "
            f"{base.path}; if that is the same model under another name, write "
            f"{base.path}+{adapter.config.path.parent}, or change base_model_name_or_path"
        )


def _short(name: object) -> str | None:
    # The last part of a path or hub id; a hub id's own name where the path leads into the hub's cache.
    if not isinstance(name, str) or not name:
        return None
    parts = Path(name).parts
    cached = [part for part in parts if part.startswith("models--")]
    return (cached[-1].rsplit("--", 1)[-1] if cached else Path(name).name).lower()
