"""Merge methods by name. Importing this needs neither torch nor numpy; only calling a reference twin does."""

from __future__ import annotations

from m2m.errors import RecipeError
from m2m.merging.methods import angles, fisher, linear, mixing, sce, swaps, task_vectors
from m2m.merging.methods.gram import Gram, GramSum
from m2m.merging.methods.parameters import Parameter, Settings, Value, flag, number
from m2m.merging.methods.spec import Inputs, Method, settings_of
from m2m.merging.methods.weighted import WeightedSum
from m2m.support.schema import closest

__all__ = [
    "METHODS",
    "Gram",
    "GramSum",
    "Inputs",
    "Method",
    "Parameter",
    "Settings",
    "Value",
    "WeightedSum",
    "flag",
    "get",
    "number",
    "register",
    "settings_of",
]

#: All methods by name.
METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Make a method known, so that recipes can name it (`docs/add_a_method.md`).

    Args:
        method: The method.

    Raises:
        RecipeError: If another method has its name.
    """
    if METHODS.setdefault(method.name, method) is not method:
        raise RecipeError(f"merge_method: {method.name!r} is the name of another method already")


def get(name: str) -> Method:
    """Look up a merge method.

    Args:
        name: Its name in a recipe.

    Returns:
        The method.

    Raises:
        RecipeError: If there is no such method.
    """
    if name in METHODS:
        return METHODS[name]
    meant = closest(str(name), METHODS)
    hint = f"; did you mean {meant!r}?" if meant is not None else ";"
    raise RecipeError(f"merge_method: {name!r} is unknown{hint} there are: {', '.join(METHODS)}")


for _family in (linear, angles, task_vectors, sce, swaps, mixing, fisher):
    for _method in _family.METHODS:
        register(_method)
