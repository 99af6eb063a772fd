"""Public functions whose arguments are held against their annotations, before anything is done or written.

The annotation is the whole declaration: types, unions, `Literal` choices, elements of lists and values of
tables, and ranges by `Annotated`. What does not fit is one error that names the argument and the place in it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from numbers import Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from m2m.errors import ConfigError
from m2m.support.arguments import argument
from m2m.support.schema import did_you_mean, kind_name

#: Largest count that the compiled module and torch can take.
MOST = 2**31 - 1

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class AtLeast:
    """Range of a whole number."""

    least: int
    most: int = MOST


#: A number of things, such as workers or threads.
Positive = Annotated[int, AtLeast(1)]
#: A number that may be 0, such as a seed.
Natural = Annotated[int, AtLeast(0)]


@dataclass(frozen=True)
class _Misfit:
    """What does not fit: where it is in the argument, what was wanted there, and what was got."""

    place: str
    wanted: str
    got: object
    hint: str = ""


def checked(**late: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Have a public function refuse arguments that its annotations do not allow.

    Args:
        late: Modules by the name under which annotations have them, which the function's module imports for
            type checkers only; they are imported at the first call.

    Returns:
        A decorator; the function then raises `ConfigError` for such arguments, before anything else.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def call(*args: _P.args, **named: _P.kwargs) -> _R:
            for name, value, kind in _given(function, args, named, late):
                check_value(argument(name), value, kind)
            return function(*args, **named)

        return call

    return decorate


def check_fields(made: Any) -> None:
    """Hold the fields of a dataclass of options against their annotations; for its `__post_init__`."""
    kinds = get_type_hints(type(made), include_extras=True)
    for field in fields(made):
        check_value(argument(field.name), getattr(made, field.name), kinds[field.name])


def _given(
    function: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any], late: Mapping[str, str]
) -> Iterator[tuple[str, Any, Any]]:
    # What was given, by argument, with what its annotation allows.
    try:
        given = inspect.signature(function).bind(*args, **named).arguments
    except TypeError:
        return  # Python's own message, at the call, names the function
    kinds = parameter_kinds(function, **late)
    yield from ((name, value, kinds[name]) for name, value in given.items())


def parameter_kinds(function: Callable[..., Any], **late: str) -> dict[str, Any]:
    """Return what the annotations of a function's parameters stand for, by name."""
    inner = inspect.unwrap(function)
    names = {**inner.__globals__, **{name: import_module(module) for name, module in late.items()}}
    parameters = inspect.signature(inner).parameters
    return {name: eval(each.annotation, names) for name, each in parameters.items()}


def check_value(said: str, value: object, kind: object) -> None:
    """Refuse a value that an annotation does not allow; `said` begins the message."""
    misfit = _misfit(value, kind, "")
    if misfit is not None:
        wanted, got = misfit.wanted, misfit.got
        raise ConfigError(f"{said}{misfit.place} must be {wanted}, got {got!r:.60}{misfit.hint}")


def _misfit(value: Any, kind: Any, place: str) -> _Misfit | None:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return None
    if origin in (Union, UnionType):
        return _of_union(value, parts, place)
    if origin is Annotated:
        if not _is_a(value, int) or value < parts[1].least:
            return _Misfit(place, _wanted(kind), value)
        return _Misfit(place, f"at most {parts[1].most}", value) if value > parts[1].most else None
    if origin is Literal:
        fits = any(type(value) is type(part) and value == part for part in parts)
    elif origin is None:
        fits = _is_a(value, kind)
    elif issubclass(origin, Mapping):
        return _of_table(value, kind, place)
    elif origin is tuple and Ellipsis not in parts and not _is_a_list_of(value, len(parts)):
        return _Misfit(place, _wanted(kind), value)
    elif issubclass(origin, Collection) or origin is Iterable:
        return _of_list(value, kind, place)
    else:
        fits = isinstance(value, origin)
    hint = did_you_mean(value, parts) if origin is Literal and isinstance(value, str) else ""
    return None if fits else _Misfit(place, _wanted(kind), value, hint)


def _of_union(value: Any, parts: Sequence[Any], place: str) -> _Misfit | None:
    misfits = [_misfit(value, part, place) for part in parts]
    found = [misfit for misfit in misfits if misfit is not None]
    if len(found) < len(misfits):
        return None
    deepest = max(found, key=lambda misfit: len(misfit.place))
    if deepest.place != place:  # one of them is the right one, but for that
        return deepest
    hint = next((misfit.hint for misfit in found if misfit.hint), "")
    wanted = [misfit.wanted for misfit in found if misfit.wanted != "None"]  # what else there is says more
    return _Misfit(place, _either(wanted), value, hint)


def _of_table(value: Any, kind: Any, place: str) -> _Misfit | None:
    if not isinstance(value, Mapping):
        return _Misfit(place, _wanted(kind), value)
    of_keys, of_values = get_args(kind)
    for key, part in value.items():
        if _misfit(key, of_keys, place) is not None:
            return _Misfit(f"{place}[{key!r:.60}]", f"named by {_wanted(of_keys)}", key)
        if misfit := _misfit(part, of_values, f"{place}[{key!r:.60}]"):
            return misfit
    return None


def _of_list(value: Any, kind: Any, place: str) -> _Misfit | None:
    # What can be walked through only once is not walked through here. Arrays are lists, though no `Sequence`.
    origin, of_parts = get_origin(kind), get_args(kind)[0]
    if isinstance(value, str):
        return _Misfit(place, _wanted(kind), value, f": write [{value!r:.60}]")
    is_list = isinstance(value, Sequence) or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))
    fits = is_list if origin is Sequence else isinstance(value, Iterable)
    if not fits or isinstance(value, bytes | Mapping):
        return _Misfit(place, _wanted(kind), value)
    if not is_list and not isinstance(value, Collection):
        return None
    misfits = (_misfit(part, of_parts, f"{place}[{number}]") for number, part in enumerate(value))
    return next((misfit for misfit in misfits if misfit is not None), None)


def _is_a_list_of(value: Any, size: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == size


def _is_a(value: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    return isinstance(value, kind)


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _wanted(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _either(list(map(_wanted, parts)))
    if origin is Annotated:
        return f"a whole number of at least {parts[1].least}"
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin is None:
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        return "None" if kind is NoneType else kind_name(kind, f"{article} {kind.__name__}")
    if issubclass(origin, Mapping):
        return f"a table of {_wanted(parts[1])} by name"
    if origin is tuple and Ellipsis not in parts:
        return f"a list of {len(parts)}: {', '.join(map(_wanted, parts))}"
    return f"a list of {_wanted(parts[0])}" if issubclass(origin, Iterable) else "a function"


def _either(wanted: Sequence[str]) -> str:
    *others, last = wanted
    return f"{', '.join(others)} or {last}" if others else last
