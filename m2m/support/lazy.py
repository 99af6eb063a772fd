"""Packages whose names load what they need when they are first used, so that importing one is cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from m2m.support.extras import missing_package


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package (PEP 562).

    Args:
        package: The package's name.
        homes: The module that each public name comes from; `MODULE:NAME` where it is called otherwise there,
            `MODULE:` for the module itself.

    Returns:
        A function from a public name to what it stands for. It raises `MissingPackageError` where that
        needs a package that an extra of m2m brings.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {sorted(homes)}")
        place, colon, other = homes[name].partition(":")
        try:
            module = import_module(place)
        except ModuleNotFoundError as error:
            missing = missing_package(error)
            if missing is None:
                raise
            raise missing from error
        value = module if colon and not other else getattr(module, other or name)
        setattr(sys.modules[package], name, value)
        return value

    return load
