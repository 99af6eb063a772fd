"""What a merge method is: its parameters, its reference twin, and its passes over a stream."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from m2m.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.checkpoint.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo
    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.tensors import PlannedTensor
    from m2m.merging.stream.passes import Window

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

    @property
    def all(self) -> tuple[Tensor, ...]:
        """The models' tensors, the base model's first, if there is one."""
        return (*([] if self.base is None else [self.base]), *self.experts)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A merge method: what a recipe may say about it, its reference twin, and its passes over a stream.

    Attributes:
        name: Its name in a recipe. base: Whether a base model is `required`, `optional` or `ignored` (then
        it only lends its files). least: Fewest experts (the base model not counted). most: Most experts,
        None for any number. parameters: What a recipe may set. space: What its points are: `weights`, `task
        vectors`, or `either` (task vectors if there is a base model). source: Where the method comes from.
        differences: How it differs from mergekit 0.1.5 under the same name; empty if it does not. kind: What
        it asks of a stream. `weights`: merging weights known before reading. `gram`: merging
            weights from inner products of the whole tensor, then a weighted sum. `elementwise`: each element
            alone. `selection`: thresholds, ranks or random draws over the tensor, then each element alone.
        reads_once: Whether one pass does, so that nothing is read again.
        takes_candidates: Whether one pass can write several outputs, which differ in their weights.
    """

    name: str
    base: Literal["required", "optional", "ignored"]
    least: int = 1
    most: int | None = None
    parameters: tuple[Parameter, ...] = ()
    space: Literal["weights", "task vectors", "either"]
    source: str
    differences: str = ""
    kind: ClassVar[Literal["weights", "gram", "elementwise", "selection"]]
    reads_once: ClassVar[bool] = False
    takes_candidates: ClassVar[bool] = True

    @abstractmethod
    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        """Merge whole tensors in plain torch: the definition, which every other implementation must match.

        Args:
            inputs: The tensors. each [*S]
            settings: The parameters for this tensor.
            out_dtype: Type of the result, to which it is rounded once.

        Returns:
            The merged tensor. [*S]
        """

    @abstractmethod
    def passes(self, window: Window) -> Iterator[StreamPass]:
        """Give the compiled passes over a window of tensors.

        Each is run to its end over the whole window before the next one is asked for, so what a pass has
        gathered can be asked of it when the function goes on. After an interruption the looks of a window are
        repeated and the write goes on where it stopped: a pass must not depend on anything but the window.

        Args:
            window: The tensors; those that are copied must be passed over.

        Yields:
            StreamPass: All but the last only look (`writes` is false); the last one writes.
        """

    def check(self, settings: Settings) -> None:
        """Refuse settings that are each in range but make no sense together.

        Args:
            settings: The settings of one tensor.

        Raises:
            RecipeError: If they make none.
        """  # noqa: DOC502 - raised by methods that check
        del settings

    def on_task_vectors(self, *, with_base: bool) -> bool:
        """Say whether the points are task vectors.

        Args:
            with_base: Whether there is a base model.

        Returns:
            Whether they are; else they are the inputs themselves.
        """
        return self.space == "task vectors" or (self.space == "either" and with_base)

    def more_inputs(
        self, settings: Settings, experts: Sequence[TensorInfo], open_file: Callable[[str], Checkpoint]
    ) -> tuple[TensorInfo, ...]:
        """Find what is read of each tensor besides the models, as Fisher estimates.

        Args:
            settings: The parameters for the tensor.
            experts: The experts' tensors. [N]
            open_file: Opens a checkpoint that a parameter names.

        Returns:
            The tensors, which follow the experts' among a tensor's sources.
        """
        del settings, experts, open_file
        return ()

    def row_length(self, shape: Sequence[int]) -> int | None:
        """Measure the rows that a stream must hold whole.

        Args:
            shape: A tensor's shape.

        Returns:
            Elements; None if the method does not work by rows.
        """
        del shape
        return None

    def scratch_bytes(self, tensors: Iterable[PlannedTensor]) -> int:
        """Bound the memory that a worker needs besides its staging buffers.

        Args:
            tensors: The tensors of a plan.

        Returns:
            Bytes.
        """
        del tensors
        return 0

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


@dataclass(frozen=True, kw_only=True)
class Elementwise(Method):
    """A method that takes each element alone: one pass, one output."""

    kind: ClassVar[Literal["elementwise"]] = "elementwise"
    reads_once: ClassVar[bool] = True
    takes_candidates: ClassVar[bool] = False


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
