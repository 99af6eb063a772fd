"""Merge methods by name. Importing this needs neither torch nor numpy; only calling a reference twin does."""

from __future__ import annotations

from difflib import get_close_matches

from m2m.errors import RecipeError
from m2m.merging.methods import fisher, linear, mixing, model_stock, sce, spherical, swaps, task_vectors
from m2m.merging.methods.spec import Inputs, Method, Parameter, Settings, Value, settings_of

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
    close = get_close_matches(str(name), METHODS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    raise RecipeError(f"merge_method: {name!r} is unknown{hint} there are: {', '.join(METHODS)}")
