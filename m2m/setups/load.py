"""From a `[setup]` table to a set-up."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from m2m.config_keys import did_you_mean
from m2m.errors import ConfigError
from m2m.setups.protocol import Progress, Setup

KINDS = ("language", "vision", "python")


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
        ConfigError: If `kind` is missing or unknown.
    """
    kind = spec.get("kind")
    if kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise ConfigError(f"[setup]: `kind` must be one of {', '.join(KINDS)}; got {kind!r}{hint}")
    if kind == "python":
        return cast(Setup, _factory(spec, root)(spec))
    module = importlib.import_module(f"m2m.setups.{kind}")
    return cast(Setup, module.from_spec(spec, root, cache, progress))


def _factory(spec: Mapping[str, Any], root: Path) -> Callable[[Mapping[str, Any]], Any]:
    name = spec.get("factory")
    if not isinstance(name, str) or ":" not in name:
        raise ConfigError(f'[setup]: `factory` must be "file.py:function" or "module:function", got {name!r}')
    place, _, function = name.rpartition(":")
    module = _file(root / place) if place.endswith(".py") else _module(place)
    factory = getattr(module, function, None)
    if not callable(factory):
        raise ConfigError(f"[setup]: {place} has no function {function!r}")
    return cast(Callable[[Mapping[str, Any]], Any], factory)


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"[setup]: no file {path} for `factory`")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"[setup]: cannot import {name!r} for `factory`: {error}") from None
