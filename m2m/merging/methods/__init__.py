"""Merge methods by name. Importing this needs neither torch nor numpy; only calling a reference twin does."""

from __future__ import annotations

from m2m.errors import RecipeError
from m2m.merging.methods import fisher, linear, mixing, model_stock, sce, spherical, swaps, task_vectors
from m2m.merging.methods.spec import Inputs, Method, Parameter, Settings, Value, settings_of
from m2m.support.schema import closest

__all__ = ["METHODS", "Inputs", "Method", "Parameter", "Settings", "Value", "get", "settings_of"]

_FAMILIES = (linear, spherical, task_vectors, model_stock, sce, swaps, mixing, fisher)

#: All methods by name.
METHODS: dict[str, Method] = {method.name: method for family in _FAMILIES for method in family.METHODS}


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
