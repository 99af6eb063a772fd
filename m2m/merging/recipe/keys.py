"""Strict keys: all that a recipe says is understood or refused, with the place and the nearest known name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from m2m.errors import RecipeError
from m2m.support.schema import closest

#: Keys that have a meaning elsewhere, and where.
_ELSEWHERE = {
    "layer_range": "it is one of slices: - sources: - {model: ..., layer_range: [start, end]}",
    "experts": "it is one of mergekit-moe's, which m2m has no part in",
    "gate_mode": "it is one of mergekit-moe's, which m2m has no part in",
    "genome": "it is one of mergekit-evolve's; m2m search looks for weights",
    "name": "it names a recipe among several in mergekit-multi; m2m merge takes one recipe a file",
}


def check_keys(table: Mapping[Any, object], known: Collection[str], where: str) -> None:
    """Refuse the first key that is not known."""
    for key in table:
        if key not in known:
            name = str(key) if str(key).isprintable() else repr(key)
            place = f"{where}.{name}" if where else name
            meant = closest(str(key), known)
            hint = f"did you mean {meant!r}?" if meant else f"known here: {', '.join(sorted(known))}"
            raise RecipeError(f"{place} is not a key of a merge recipe; {_ELSEWHERE.get(name, hint)}")


def as_mapping(value: object, where: str) -> Mapping[str, Any]:
    """A part of a recipe that is a mapping; nothing counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} must be a mapping, got {value!r}")
    return value


def as_list(value: object, where: str) -> Sequence[Any]:
    """A part of a recipe that is a list with something in it."""
    if not isinstance(value, list | tuple) or not value:
        raise RecipeError(f"{where} must be a list with at least one entry, got {value!r}")
    return value


def refuse_if_set(table: Mapping[str, Any], key: str, where: str, why: str) -> None:
    """Refuse a key of mergekit's that has no meaning here, unless it is empty."""
    if table.get(key) is not None:
        place = f"{where}.{key}" if where else key
        raise RecipeError(f"{place} is not supported: {why}")
