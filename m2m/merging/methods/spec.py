"""What a merge method is: its rule, its reference twin, and its passes over a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from m2m.errors import RecipeError
from m2m.merging.methods.parameters import Parameter, Settings, Value

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.checkpoint.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo
    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.tensors import PlannedTensor
    from m2m.merging.plan.window import Window


@dataclass(frozen=True)
class Inputs:
    """The tensors of one name that go into a merge; all of one shape [*S].

    Attributes:
        experts: The N experts' tensors. each [*S]
        base: The base model's tensor, where the method uses one. [*S]
        estimates: What lies beside the N experts: diagonal Fisher estimates, Adam's second moments. each [*S]
    """

    experts: Sequence[Tensor]
    base: Tensor | None = None
    estimates: Sequence[Tensor] = ()

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
        """Find what is read of each tensor besides the models, as estimates of each element.

        Args:
            settings: The parameters for the tensor.
            experts: The experts' tensors. [N]
            open_file: Opens a checkpoint that a parameter names.

        Returns:
            The tensors, which follow the experts' among a tensor's sources.
        """
        del settings, experts, open_file
        return ()

    def notes(self, tensors: Iterable[PlannedTensor]) -> tuple[str, ...]:
        """Say what a user may not expect of a planned merge; told with the result, and in its manifest.

        Args:
            tensors: The tensors of a plan.

        Returns:
            Sentences.
        """
        del tensors
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
