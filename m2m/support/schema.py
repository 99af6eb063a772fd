"""Parsed data held against what is wanted, before anything is taken out: known keys, none twice, the shape.

An unknown key is an error that suggests what was probably meant. A shape is a type (a float may be a whole
number); a tuple of shapes, one of which must fit; `[shape]` for a list of such things; a mapping of names to
shapes for a table: a name that ends with `?` may be missing, and `str` stands for all that are not named.
Names that no shape speaks of may hold anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import NoneType
from typing import Any, TypeVar

from m2m.errors import ConfigError, InputError

_Item = TypeVar("_Item", bound=Hashable)


def check_keys(table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse keys that nobody reads, because a misspelt key would silently leave its default in place."""
    known = sorted(allowed)
    unknown = [str(key) for key in table if key not in known]
    if unknown:
        described = ", ".join(repr(key) + did_you_mean(key, known) for key in unknown)
        raise ConfigError(f"{where}: unknown key {described}; allowed are: {', '.join(known)}")


def flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables by key, as in `train.steps`."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'steps'?)` of the word that was probably meant, or nothing if none is close."""
    meant = closest(word, known)
    return f" (did you mean {meant!r}?)" if meant is not None else ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant; None if nothing is close."""
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def repeated(items: Iterable[_Item]) -> _Item | None:
    """The first that is there more than once; None if all differ."""
    return next((item for item, count in Counter(items).items() if count > 1), None)


def repeated_at(items: Iterable[Hashable]) -> tuple[int, int] | None:
    """The places of the first item that was there before: of the earlier one, and its own; None if none."""
    seen: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        if item in seen:
            return seen[item], place
        seen[item] = place
    return None


#: A finite number, or null.
PERHAPS = (NoneType, float)
_NAMES = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
    dict: "a table", NoneType: "null", bytes: "bytes",
}  # fmt: skip


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least `least`; `name` begins the message."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r:.60}")


def check_shape(value: Any, shape: Any, where: str, error: type[InputError] = InputError) -> None:
    """Hold data against a shape; `bool` is no whole number, and numbers are finite."""
    problem = None if shape is object else _problem(value, shape, "")
    if problem is not None:
        place, got = problem
        raise error(f"{where}: {place or 'its content'} {got}")


def _problem(value: Any, shape: Any, place: str) -> tuple[str, str] | None:
    if isinstance(shape, tuple):
        problems = [_problem(value, one, place) for one in shape]
        # What stands deeper inside says more: one of the shapes is the right one, but for that.
        return None if None in problems else max((p for p in problems if p), key=lambda p: len(p[0]))
    if isinstance(shape, Mapping):
        return _in_table(value, shape, place)
    if isinstance(shape, list):
        return _in_list(value, shape[0], place)
    if type(value) is not shape and not (type(value) is int and shape is float):
        return place, _is_not(value, shape)
    if isinstance(value, float) and not math.isfinite(value):
        return place, f"is {value}, wanted a finite number"
    return None


def _in_list(value: Any, shape: Any, place: str) -> tuple[str, str] | None:
    if not isinstance(value, list):
        return place, _is_not(value, list)
    problems = (_problem(part, shape, f"{place}[{number}]") for number, part in enumerate(value))
    return next((problem for problem in problems if problem), None)


def _in_table(value: Any, shape: Mapping[Any, Any], place: str) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return place, _is_not(value, dict)
    named = {name.removesuffix("?"): inner for name, inner in shape.items() if name is not str}
    for name in named:
        if name not in value and name in shape:
            return f"{place}.{name}".lstrip("."), "is missing"
    for name, part in value.items():
        inner = named.get(name, shape.get(str, object))
        if inner is not object and (problem := _problem(part, inner, f"{place}.{name}".lstrip("."))):
            return problem
    return None


def _is_not(value: Any, kind: type) -> str:
    return f"is {shown(value)}, wanted {kind_name(kind, kind.__name__)}"


def shown(value: object) -> str:
    """What a message shows of a value, on one line: how Python writes it, or its kind where it cannot."""
    try:
        return " ".join(line.strip() for line in repr(value).splitlines())[:60]
    except Exception:  # a number of more digits than Python writes, a tensor that torch cannot print
        return f"of kind {type(value).__name__}"


def kind_name(kind: type, otherwise: str) -> str:
    """What people call a type of data; `otherwise` if there is no word for it."""
    return _NAMES.get(kind, otherwise)
