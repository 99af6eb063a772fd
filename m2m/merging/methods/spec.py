"""What a merge method is: its inputs, its parameters, what it asks of a stream, and its reference twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

from m2m.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, dtype

#: What a parameter of one tensor can be once gradients and filters are resolved.
Value = float | int | bool | str
#: `shared`: one value a tensor; `model`: one value a tensor and expert.
Scope = Literal["shared", "model"]
#: Flags as YAML 1.1 has them besides true and false; in YAML 1.2 they are text.
_WORDS = {"yes": True, "on": True, "no": False, "off": False}
#: Largest number a recipe may hold: sums of such numbers, and products of two, are finite in float64.
LARGEST = 1e150
#: Symmetric matrix of inner products, float64. [K, K]
Gram = Sequence[Sequence[float]]


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
            left = "(" if self.open_low else "["
            raise RecipeError(f"{where} must be in {left}{self.low:g}, {self.high:g}], got {value!r}")
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


@dataclass(frozen=True)
class Inputs:
    """The tensors of one name that go into a merge; all of one shape [*S].

    Attributes:
        experts: The N experts' tensors. each [*S]
        base: The base model's tensor, where the method uses one. [*S]
        fisher: The N diagonal Fisher estimates, for `fisher`. each [*S]
    """

    experts: Sequence[Tensor]
    base: Tensor | None = None
    fisher: Sequence[Tensor] = ()


#: Whole-tensor twin of a method: inputs, settings and output dtype to the merged tensor [*S].
Reference = Callable[[Inputs, Settings, "dtype"], "Tensor"]
#: Merging weights of one tensor: Gram matrix of its K points (None for `weights` methods) to K weights.
Coefficients = Callable[[Gram | None, Settings], list[float]]
#: Axis along which one vector lies, None for the whole tensor.
Vectors = Callable[[Settings], int | None]
#: Which elements of a task vector are kept: the largest, a random share, the largest but for outliers, or at
#: random by rank.
Trim = Literal["magnitude", "random", "outliers", "rank"]


@dataclass(frozen=True)
class Method:
    """A merge method.

    Attributes:
        name: Its name in a recipe.
        base: Whether a base model is `required`, `optional` or `ignored` (then it only lends its files).
        least: Fewest experts (the base model not counted).
        most: Most experts, None for any number.
        parameters: What a recipe may set.
        kind: What it asks of a stream. `weights`: merging weights known before reading. `gram`: merging
            weights from inner products of the whole tensor, then a weighted sum. `elementwise`: each element
            alone. `selection`: thresholds, ranks or random draws over the tensor, then each element alone.
        space: `weights`, `task vectors`, or `either` (task vectors if there is a base model).
        source: Where the method comes from.
        differences: How it differs from mergekit 0.1.5 under the same name; empty if it does not.
        reference: The whole-tensor twin, which every other implementation must match.
        coefficients: For `weights` and `gram`: the merging weights of the points, in float64.
        trim: For the task-vector family: which elements of a task vector are kept.
        elect: For the task-vector family: whether experts against the elected sign are left out.
        vectors: For `gram`: axis along which one vector lies, from the settings; None takes the whole tensor
            as one vector.
        row: For methods that look at whole rows: what makes up a row, which a stream must hold at once. What
            shares the `first index` (a vector is one row), or what lies along the `last axis`.
        rejects: Raises RecipeError for settings that are each in range but make no sense together.
    """

    name: str
    base: Literal["required", "optional", "ignored"]
    least: int
    most: int | None
    parameters: tuple[Parameter, ...]
    kind: Literal["weights", "gram", "elementwise", "selection"]
    space: Literal["weights", "task vectors", "either"]
    source: str
    differences: str
    reference: Reference
    coefficients: Coefficients | None = None
    trim: Trim | None = None
    elect: bool = False
    row: Literal["first index", "last axis"] | None = None
    vectors: Vectors | None = None
    rejects: Callable[[Settings], None] | None = None

    def row_length(self, shape: Sequence[int]) -> int:
        """Measure the rows that a stream must hold whole.

        Args:
            shape: A tensor's shape.

        Returns:
            Elements; 1 if the method does not work by rows.
        """
        if self.row is None or not shape:
            return 1
        whole = shape[-1] if self.row == "last axis" or len(shape) == 1 else math.prod(shape[1:])
        return max(whole, 1)  # of a tensor without elements

    def check(self, settings: Settings) -> None:
        """Refuse settings that are each in range but make no sense together.

        Args:
            settings: The settings of one tensor.
        """
        if self.rejects:
            self.rejects(settings)
        elif self.kind == "weights" and self.coefficients:
            self.coefficients(None, settings)

    def parameter(self, name: str) -> Parameter:
        """Look up one parameter.

        Args:
            name: Its name.

        Returns:
            Its specification.

        Raises:
            KeyError: If the method has no such parameter.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


def twin(module: str, **options: object) -> Reference:
    """Name a reference twin by its module in `twins`, so that torch is imported only when it is called.

    Args:
        module: Module of `m2m.merging.methods.twins` with a function `merge`.
        **options: Passed on to it.

    Returns:
        The twin.
    """

    def reference(inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        merge = import_module(f"m2m.merging.methods.twins.{module}").merge
        return cast("Tensor", merge(inputs, settings, out_dtype, **options))

    return reference


def settings_of(method: Method, experts: int, **values: object) -> Settings:
    """Build settings by hand: defaults filled in, a list gives one value an expert.

    Args:
        method: The method the settings are for.
        experts: Number of experts N.
        **values: Parameter values, and `tensor`, `seed`, `definition`; `lambda_` stands for `lambda`.

    Returns:
        The checked settings.

    Raises:
        RecipeError: If a parameter is unknown, missing or out of range.
    """
    given = {name.rstrip("_"): value for name, value in values.items()}
    about = {name: given.pop(name) for name in ("tensor", "seed", "definition") if name in given}
    shared: dict[str, Value] = {}
    each: list[dict[str, Value]] = [{} for _ in range(experts)]
    for parameter in method.parameters:
        value = given.pop(parameter.name, parameter.default)
        if value is None and parameter.required:
            raise RecipeError(f"{method.name} needs the parameter {parameter.name}")
        if value is None:
            continue
        if parameter.scope == "shared":
            shared[parameter.name] = parameter.check(value, parameter.name)
            continue
        row = value if isinstance(value, list | tuple) else [value] * experts
        for values_of_expert, item in zip(each, row, strict=True):
            if item is not None:
                values_of_expert[parameter.name] = parameter.check(item, parameter.name)
    if given:
        raise RecipeError(f"{method.name} has no parameter {sorted(given)}")
    settings = Settings(shared, each, **about)  # type: ignore[arg-type]
    method.check(settings)
    return settings


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
