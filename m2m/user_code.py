"""Functions that users name in an option or a configuration: `FILE.py:FUNCTION` or `MODULE:FUNCTION`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from m2m.config_keys import did_you_mean
from m2m.errors import ConfigError


def load_function(reference: str, root: Path, what: str) -> Callable[..., Any]:
    """Find a user's function.

    Args:
        reference: `file.py:function` or `module:function`.
        root: Folder that a relative file starts from.
        what: Which option or key named it, for messages.

    Returns:
        The function.

    Raises:
        ConfigError: If the reference has another form, there is no such file, module or function, or the
            user's code fails while it is loaded.
    """
    place, separator, name = reference.rpartition(":")
    if not separator or not place or not name:
        raise ConfigError(f"{what} must be FILE.py:FUNCTION or MODULE:FUNCTION, got {reference!r}")
    module = _loaded(place, root, what)
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"{what}: {place} has no function {name!r}{did_you_mean(name, names)}; it has {names}"
        )
    return function  # type: ignore[no-any-return]


def _loaded(place: str, root: Path, what: str) -> ModuleType:
    path = root / place
    if place.endswith(".py") and not path.is_file():
        raise ConfigError(f"{what}: there is no file {path}")
    try:
        return _file(path.resolve()) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        raise ConfigError(f"{what}: {place} fails while it is loaded: {error!r}") from error


def _file(path: Path) -> ModuleType:
    # Unique to the file, so that two `task.py` do not meet; registered, because dataclasses look it up.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
