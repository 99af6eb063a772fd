"""Configurations of `m2m mix` from text, and with other keys in their `[mix]` table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from m2m.pipeline import config


def written(folder: Path, text: str) -> config.RunConfig:
    """Write a configuration into a folder, and load it."""
    path = folder / "run.toml"
    path.write_text(text)
    return config.load(path)


def with_mix(loaded: config.RunConfig, **changes: Any) -> config.RunConfig:
    """Return a configuration with other options of its search."""
    return replace(loaded, mix=replace(loaded.mix, **changes))
