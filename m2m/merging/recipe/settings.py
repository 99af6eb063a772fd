"""Parameter settings of a recipe: scalars, gradients over layers, and values by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m2m.errors import RecipeError
from m2m.merging.methods.parameters import Parameter, Value
from m2m.merging.recipe.keys import as_list, check_keys


@dataclass(frozen=True)
class Gradient:
    """Values spread evenly over the layers of a slice; a scalar is a gradient of one value."""

    #: At least one, all checked.
    values: tuple[Value, ...]

    def at(self, t: float) -> Value:
        """The value at t (0 first layer, 1 last): numbers in between, flags and text of the step below."""
        scaled = t * (len(self.values) - 1)
        index = int(scaled)
        below, above = self.values[index], self.values[min(len(self.values) - 1, index + 1)]
        if isinstance(below, bool | str) or isinstance(above, bool | str):
            return below
        rest = scaled - index
        return (1 - rest) * below + rest * above if rest else below


@dataclass(frozen=True)
class Setting:
    """What a recipe says about one parameter in one place."""

    #: (part of a tensor name or None for any, values), tried in order.
    cases: tuple[tuple[str | None, Gradient], ...]

    def at(self, tensor: str, t: float) -> Value | None:
        """The value for a tensor at t, of the first case that matches; None if none does."""
        for part, gradient in self.cases:
            if part is None or part in tensor:
                return gradient.at(t)
        return None

    @property
    def is_constant(self) -> bool:
        """Whether every tensor gets the same value."""
        part, gradient = self.cases[0]
        return part is None and len(gradient.values) == 1


def read_setting(parameter: Parameter, value: object, where: str) -> Setting:
    """Check a setting: a scalar, a list of scalars, or a list of `{filter, value}`."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not any(isinstance(entry, Mapping) for entry in value):
        return Setting(((None, _gradient(parameter, value, where)),))
    cases: list[tuple[str | None, Gradient]] = []
    for index, entry in enumerate(value):
        place = f"{where}[{index}]"
        if cases and cases[-1][0] is None:
            raise RecipeError(f"{place} is never reached: the entry before it matches every tensor")
        cases.append(_case(parameter, entry, place))
    return Setting(tuple(cases))


def _case(parameter: Parameter, entry: object, where: str) -> tuple[str | None, Gradient]:
    if not isinstance(entry, Mapping):
        return None, _gradient(parameter, entry, where)
    check_keys(entry, ("filter", "value"), where)
    if "value" not in entry:
        raise RecipeError(f"{where} has no value")
    part = entry.get("filter")
    if part is not None and (not isinstance(part, str) or not part):
        raise RecipeError(f"{where}.filter must be part of a tensor name or '*', got {part!r}")
    return None if part == "*" else part, _gradient(parameter, entry["value"], f"{where}.value")


def _gradient(parameter: Parameter, value: object, where: str) -> Gradient:
    if not isinstance(value, list | tuple):
        return Gradient((parameter.check(value, where),))
    if parameter.kind == "integer" and len(value) > 1:
        raise RecipeError(f"{where} must be one whole number, got the gradient {list(value)}")
    entries = as_list(value, where)
    return Gradient(tuple(parameter.check(entry, f"{where}[{i}]") for i, entry in enumerate(entries)))
