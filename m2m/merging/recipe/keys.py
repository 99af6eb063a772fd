"""Strict keys: all that a recipe says is understood or refused, with the place and the nearest known name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from m2m.errors import RecipeError
from m2m.support.schema import closest


def check_keys(table: Mapping[Any, object], known: Collection[str], where: str) -> None:
    """Refuse the first key that is not known.

    Args:
        table: A mapping of the recipe.
        known: The keys it may have.
        where: Its place in the recipe; empty at the top.

    Raises:
        RecipeError: If a key is not known.
    """
    for key in table:
        if key not in known:
            name = str(key) if str(key).isprintable() else repr(key)
            place = f"{where}.{name}" if where else name
            meant = closest(str(key), known)
            hint = f"; did you mean {meant!r}?" if meant else f"; known here: {', '.join(sorted(known))}"
            raise RecipeError(f"{place} is not a key of a merge recipe{hint}")


def as_mapping(value: object, where: str) -> Mapping[str, Any]:
    """Check that a part of a recipe is a mapping.

    Args:
        value: The part; nothing counts as an empty mapping.
        where: Its place in the recipe.

    Returns:
        The mapping.

    Raises:
        RecipeError: If it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} must be a mapping, got {value!r}")
    return value


def as_list(value: object, where: str) -> Sequence[Any]:
    """Check that a part of a recipe is a list with something in it.

    Args:
        value: The part.
        where: Its place in the recipe.

    Returns:
        The list.

    Raises:
        RecipeError: If it is something else, or empty.
    """
    if not isinstance(value, list | tuple) or not value:
        raise RecipeError(f"{where} must be a list with at least one entry, got {value!r}")
    return value


def refuse_if_set(table: Mapping[str, Any], key: str, where: str, why: str) -> None:
    """Refuse a key of mergekit's that has no meaning here, unless it is empty.

    Args:
        table: A mapping of the recipe.
        key: The key.
        where: The mapping's place; empty at the top.
        why: What to do instead.

    Raises:
        RecipeError: If the key has a value.
    """
    if table.get(key) is not None:
        place = f"{where}.{key}" if where else key
        raise RecipeError(f"{place} is not supported: {why}")
