"""Merge methods by name. Importing this needs neither torch nor numpy; only calling a reference twin does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from m2m.errors import ConfigError, RecipeError
from m2m.merging.methods import (
    agreement,
    angles,
    element_weights,
    linear,
    mixing,
    overlap,
    sce,
    swaps,
    task_vectors,
)
from m2m.merging.methods.gram import Gram, GramSum
from m2m.merging.methods.parameters import Parameter, Settings, Value, flag, number
from m2m.merging.methods.spec import Inputs, Method, settings_of
from m2m.merging.methods.weighted import WeightedSum
from m2m.support.names import text_fault
from m2m.support.schema import closest
from m2m.support.user_code import guarded

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
#: Those that users registered, as they gave them.
_given: dict[str, Method] = {}
#: What a method's fields may say.
_CHOICES = {"base": ("required", "optional", "ignored"), "space": ("weights", "task vectors", "either")}
#: Functions that a method may bring, by field, and whether they may be None.
_FUNCTIONS = {"weights": False, "vectors": True, "rejects": True}


def register(method: Method) -> None:
    """Make a method of your own known, so that recipes can name it (`docs/add_a_method.md`).

    What its functions raise, or an exit that they ask for, is one error that names the method.

    Args:
        method: The method.

    Raises:
        ConfigError: If it is no method, or one of its fields is not what it must be.
        RecipeError: If another method has its name.
    """  # noqa: DOC502 - partly raised by what is called
    _check(method)
    known = METHODS.get(method.name)
    if known is not None:
        if method in (known, _given.get(method.name)):
            return
        raise RecipeError(f"merge_method: {method.name!r} is the name of another method already")
    _given[method.name] = method
    METHODS[method.name] = _guarded(method)


def _check(method: Method) -> None:
    if not isinstance(method, Method):
        raise ConfigError(f"a merge method must be an object such as WeightedSum(...), got {method!r:.60}")
    if fault := text_fault(method.name):
        raise ConfigError(f"the name of a merge method must be text, got {method.name!r:.60}: it {fault}")
    for field, choices in _CHOICES.items():
        if (value := getattr(method, field)) not in choices:
            raise ConfigError(
                f"merge method {method.name!r}: {field} must be one of {choices}, got {value!r:.60}"
            )
    for field, optional in _FUNCTIONS.items():
        value = getattr(method, field, None)
        if hasattr(method, field) and not callable(value) and not (optional and value is None):
            raise ConfigError(f"merge method {method.name!r}: {field} must be a function, got {value!r:.60}")
    listed = method.parameters if isinstance(method.parameters, tuple | list) else [None]
    if not all(isinstance(parameter, Parameter) for parameter in listed):
        raise ConfigError(
            f"merge method {method.name!r}: parameters must be number(...), flag(...) or Parameter(...), "
            f"got {method.parameters!r:.60}"
        )


def _guarded(method: Method) -> Method:
    # A copy whose functions fail as the user's. Only the two sums have functions as fields.
    if not isinstance(method, WeightedSum | GramSum):
        return method
    functions = {name: getattr(method, name, None) for name in _FUNCTIONS}
    theirs: dict[str, Any] = {
        name: guarded(function, f"merge method {method.name!r}: {name}")
        for name, function in functions.items()
        if function is not None
    }
    return replace(method, **theirs | {"weights": _AsNumbers(theirs["weights"], method.name)})


@dataclass(frozen=True)
class _AsNumbers:
    """A user's function of weights, whose result is a list of numbers or an error."""

    weights: Callable[..., Any]
    name: str

    def __call__(self, *args: Any) -> list[float]:
        found = self.weights(*args)
        try:
            return list(map(_number, _in_order(found)))
        except (TypeError, ValueError, OverflowError):
            raise RecipeError(
                f"merge method {self.name!r}: weights must give a list of numbers, got {found!r:.60}"
            ) from None


def _in_order(found: Any) -> list[Any]:
    # A dictionary would give its keys, and a set has no order.
    if isinstance(found, str | bytes | Mapping | Set):
        raise TypeError(found)
    return list(found)


def _number(found: Any) -> float:
    if isinstance(found, str | bytes | bool):
        raise TypeError(found)
    return float(found)


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


for _family in (linear, angles, task_vectors, sce, overlap, agreement, swaps, mixing, element_weights):
    METHODS.update({_method.name: _method for _method in _family.METHODS})
