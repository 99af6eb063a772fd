"""What a recipe may say of a method: its parameters, and the values that one tensor has of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from m2m.errors import RecipeError

#: What a parameter of one tensor can be once gradients and filters are resolved.
Value = float | int | bool | str
#: `shared`: one value a tensor; `model`: one value a tensor and expert.
Scope = Literal["shared", "model"]
#: Flags as YAML 1.1 has them besides true and false; in YAML 1.2 they are text.
_WORDS = {"yes": True, "on": True, "no": False, "off": False}
#: Largest number a recipe may hold: sums of such numbers, and products of two, are finite in float64.
LARGEST = 1e150


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        name: Its name in a recipe.
        scope: One value for all experts (`shared`) or one an expert (`model`).
        kind: `number`, `integer`, `flag` or `text`.
        default: Value where the recipe says nothing; None if there is none.
        required: Whether the recipe must say something.
        low: Smallest value allowed.
        high: Largest value allowed.
        open_low: Whether `low` itself is refused.
        effect: False if mergekit accepts it but it changes no result here; a note says so.
    """

    name: str
    scope: Scope
    kind: Literal["number", "integer", "flag", "text"]
    default: Value | None = None
    required: bool = False
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    effect: bool = True

    def check(self, value: object, where: str) -> Value:
        """Check one written value against kind and range.

        Args:
            value: What the recipe holds; a number may be written as text, and a flag as mergekit's YAML
                takes it: yes, no, on, off.
            where: Its place in the recipe, for the error.

        Returns:
            The value in its own type.

        Raises:
            RecipeError: If the kind is wrong, or the number is not finite or out of range.
        """
        if self.kind == "text":
            return self._text(value, where)
        if self.kind == "flag":
            return self._flag(value, where)
        number = _as_number(value, where, self.kind)
        below = number <= self.low if self.open_low else number < self.low
        if below or number > self.high:
            left = "(" if self.open_low or math.isinf(self.low) else "["
            right = ")" if math.isinf(self.high) else "]"
            raise RecipeError(f"{where} must be in {left}{self.low:g}, {self.high:g}{right}, got {value!r}")
        if self.kind == "integer":
            if number != int(number):
                raise RecipeError(f"{where} must be a whole number, got {value!r}")
            return int(number)
        return number

    @staticmethod
    def _text(value: object, where: str) -> str:
        if not isinstance(value, str) or not value:
            raise RecipeError(f"{where} must be text, got {value!r}")
        return value

    @staticmethod
    def _flag(value: object, where: str) -> bool:
        if isinstance(value, str):
            value = _WORDS.get(value.lower(), value)
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise RecipeError(f"{where} must be true or false, got {value!r}")
        return bool(value)


def _as_number(value: object, where: str, kind: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RecipeError(f"{where} must be a {kind}, got {value!r}")
    try:
        number = float(value)
    except ValueError:
        raise RecipeError(f"{where} must be a {kind}, got {value!r}") from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecipeError(f"{where} must be finite, got {value!r}")
    if abs(number) > LARGEST:
        raise RecipeError(f"{where} must be at most {LARGEST:g} in size, got {value!r}")
    return number


@dataclass(frozen=True)
class Settings:
    """A method's parameters for one tensor, resolved and checked.

    Attributes:
        shared: Value of each shared parameter.
        each: Value of each parameter of each expert. [N]
        tensor: The tensor's name: key of random draws, and named in errors.
        seed: Seed of the random draws.
        definition: `paper`, or `mergekit` where that differs from the paper.
    """

    shared: Mapping[str, Value] = field(default_factory=dict)
    each: Sequence[Mapping[str, Value]] = ()
    tensor: str = ""
    seed: int = 0
    definition: Literal["paper", "mergekit"] = "paper"

    def number(self, name: str) -> float:
        """Return a shared number.

        Args:
            name: The parameter's name.

        Returns:
            Its value.
        """
        return float(self.shared[name])

    def flag(self, name: str) -> bool:
        """Return a shared flag.

        Args:
            name: The parameter's name.

        Returns:
            Its value.
        """
        return bool(self.shared[name])

    def numbers(self, name: str) -> list[float]:
        """Return a number of every expert.

        Args:
            name: The parameter's name.

        Returns:
            The values. [N]
        """
        return [float(values[name]) for values in self.each]


def number(name: str, scope: Scope, default: float | None = None, **limits: float | bool) -> Parameter:
    """Describe a parameter that is a number; without a default it is required.

    Args:
        name: Its name.
        scope: `shared` or `model`.
        default: Its default.
        **limits: `low`, `high`, `open_low`, `effect` of the parameter.

    Returns:
        The parameter.
    """
    return Parameter(name, scope, "number", default, required=default is None, **limits)  # type: ignore[arg-type]


def flag(name: str, default: bool, *, effect: bool = True) -> Parameter:
    """Describe a shared parameter that is true or false.

    Args:
        name: Its name.
        default: Its default.
        effect: Whether it changes a result.

    Returns:
        The parameter.
    """
    return Parameter(name, "shared", "flag", default, effect=effect)
