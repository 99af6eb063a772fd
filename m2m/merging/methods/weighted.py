"""Methods that come down to one weight an input, known before reading; arithmetic of such weights."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Literal

from m2m.errors import MixtureError, RecipeError
from m2m.merging.compiled import MergePass
from m2m.merging.methods.parameters import Settings
from m2m.merging.methods.spec import Inputs, Method
from m2m.mixture import base_weight, sum_to_divide_by

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.tensors import WeightBlock
    from m2m.merging.plan.window import Window

#: Stands for the weights of a copied tensor, which has none.
NO_BLOCK = -1


@dataclass(frozen=True, kw_only=True)
class WeightedSum(Method):
    """A method whose merging weights follow from its parameters: one pass, many outputs at once, CPU or CUDA.

    Attributes:
        weights: Settings to the weights α of the points, in float64; raises RecipeError for settings that
            make no sense together. [N]
    """

    kind: ClassVar[Literal["weights"]] = "weights"
    reads_once: ClassVar[bool] = True
    weights: Callable[[Settings], list[float]]

    def check(self, settings: Settings) -> None:
        self.weights(settings)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        from m2m.merging.methods.exact import sum_inputs

        on_task_vectors = self.on_task_vectors(with_base=inputs.base is not None)
        weights = input_weights(self.weights(settings), on_task_vectors=on_task_vectors)
        return sum_inputs(inputs.all, weights, out_dtype)

    def passes(self, window: Window) -> Iterator[StreamPass]:
        numbers = [NO_BLOCK if tensor.block is None else tensor.block for tensor in window.tensors]
        yield merge_pass(window, numbers, window.blocks)


def merge_pass(window: Window, numbers: Sequence[int], blocks: Sequence[WeightBlock]) -> MergePass:
    """Write weighted sums: each tensor with the block of weights of its number; `NO_BLOCK` if copied."""
    return MergePass(
        window.core,
        window.first,
        block_of=array("q", numbers),
        block_inputs=array("q", [len(block[0]) for block in blocks]),
        weights=array("d", chain.from_iterable(chain.from_iterable(blocks))),
        allow_nonfinite=window.allow_nonfinite,
        device=window.device,
    )


def input_weights(points: Sequence[float], *, on_task_vectors: bool) -> list[float]:
    """Turn weights α of points into weights of the inputs, the base model first."""
    # A driver rounds each once to its accumulation type.
    return [base_weight(points), *points] if on_task_vectors else list(points)


def normalised(weights: Sequence[float], settings: Settings) -> list[float]:
    """W / Σw [N]; RecipeError if the weights cancel."""
    total = normaliser(weights, settings)
    return [weight / total for weight in weights]


def normaliser(weights: Sequence[float], settings: Settings) -> float:
    """Σw, correctly rounded; RecipeError, naming the tensor, if the weights cancel."""
    try:
        return sum_to_divide_by(weights)
    except MixtureError as error:
        where = f"tensor {settings.tensor}: " if settings.tensor else ""
        raise RecipeError(f"{where}{error}") from None
