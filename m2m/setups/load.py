"""From a `[setup]` table to a set-up."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from m2m.config_keys import did_you_mean
from m2m.errors import ConfigError
from m2m.names import check_names, text_fault
from m2m.setups.protocol import Progress, Setup
from m2m.user_code import load_function

KINDS = ("language", "vision", "python")
#: What tables of scores call the base model.
BASE = "base"


def load(spec: Mapping[str, Any], root: Path, cache: Path, progress: Progress | None = None) -> Setup:
    """Make the set-up that a `[setup]` table describes.

    Args:
        spec: The table; `kind` says which set-up reads the rest: `language`, `vision`, or `python` for the
            user's own, made by calling `factory = "file.py:function"` or `"module:function"` with the table.
        root: Folder that relative paths start from.
        cache: Folder of fetched and prepared data.
        progress: Told about downloads.

    Returns:
        The set-up.

    Raises:
        ConfigError: If `kind` is missing or unknown, or a name cannot be used.
    """
    kind = spec.get("kind")
    if kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise ConfigError(f"[setup]: `kind` must be one of {', '.join(KINDS)}; got {kind!r}{hint}")
    if kind == "python":
        factory = load_function(str(spec.get("factory", "")), root, "[setup] factory")
        setup = cast(Setup, factory(spec))
    else:
        module = importlib.import_module(f"m2m.setups.{kind}")
        setup = cast(Setup, module.from_spec(spec, root, cache, progress))
    _check_names(setup)
    return setup


def _check_names(setup: Setup) -> None:
    check_names(setup.datasets, "[setup]: dataset")
    check_names(setup.targets, "[setup]: target")
    check_names(setup.metrics, "[setup]: metric", text_fault)
    if BASE in setup.datasets:
        raise ConfigError(f"[setup]: no dataset can be called {BASE!r}: that is the base model's label")
