"""Methods that add task vectors and ask each expert how it stands to the sum: consensus, emr_unified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.errors import RecipeError
from m2m.merging.compiled import AgreementPass
from m2m.merging.methods.parameters import Parameter, Settings, number
from m2m.merging.methods.spec import Elementwise, Inputs

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.window import Window


@dataclass(frozen=True, kw_only=True)
class Consensus(Elementwise):
    """θ₀ + λ·Στ where at least k experts have a stake in the sum, θ₀ elsewhere.

    Contract, float64, n ascending from 0.0: S = Σ τ_n; expert n has a stake in an element if |τ_n| >
    fl(|S − τ_n|·tall_lambda_n), its TALL mask; the change is S where at least k do, 0 elsewhere; times λ.
    """

    def check(self, settings: Settings) -> None:
        k, experts = settings.number("k"), len(settings.each)
        if k > experts:
            raise RecipeError(
                f"k must be at most the number of experts, {experts}, got {k:g}: nothing would move"
            )

    def passes(self, window: Window) -> Iterator[StreamPass]:
        tensors: list[tuple[float, int, list[float]]] = []
        for tensor in window.tensors:
            if tensor.copied:
                tensors.append((0.0, 0, []))
                continue
            settings = tensor.settings[0]
            lambdas = settings.numbers("tall_lambda")
            tensors.append((settings.number("lambda"), int(settings.number("k")), lambdas))
        yield AgreementPass(
            window.core, window.first, "consensus", tensors=tensors, allow_nonfinite=window.allow_nonfinite
        )

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import add_to_base, ascending_sum, task_vectors

        assert inputs.base is not None
        vectors = [vector.double() for vector in task_vectors(inputs.base, inputs.experts)]
        total = ascending_sum(vectors)
        stakes = torch.zeros_like(total)
        for vector, tall in zip(vectors, settings.numbers("tall_lambda"), strict=True):
            stakes = stakes + (vector.abs() > (total - vector).abs() * tall)
        change = torch.where(stakes >= settings.number("k"), total, 0.0)
        return add_to_base(inputs.base, change * settings.number("lambda"), out_dtype)


@dataclass(frozen=True, kw_only=True)
class EmrUnified(Elementwise):
    """θ₀ + λ times, of the task vectors that have the sign of their sum, the largest, element by element.

    Contract, float64, n ascending from 0.0: the sign of Σ τ_n is elected; 0 where it is 0.
    """

    def passes(self, window: Window) -> Iterator[StreamPass]:
        tensors: list[tuple[float, int, list[float]]] = [
            (0.0, 0, [])
            if tensor.copied
            else (tensor.settings[0].number("lambda"), 0, [1.0] * len(tensor.settings[0].each))
            for tensor in window.tensors
        ]
        yield AgreementPass(
            window.core, window.first, "largest", tensors=tensors, allow_nonfinite=window.allow_nonfinite
        )

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import add_to_base, ascending_sum, task_vectors

        assert inputs.base is not None
        vectors = [vector.double() for vector in task_vectors(inputs.base, inputs.experts)]
        total = ascending_sum(vectors)
        largest = torch.zeros_like(total)
        for vector in vectors:
            along = torch.where(total > 0, vector, torch.where(total < 0, -vector, 0.0))
            largest = torch.where(along > largest, along, largest)
        change = torch.where(total < 0, -largest, largest)
        return add_to_base(inputs.base, change * settings.number("lambda"), out_dtype)


CONSENSUS = Consensus(
    name="consensus",
    base="required",
    parameters=(
        number("tall_lambda", "model", 0.4, low=0),
        Parameter("k", "shared", "integer", 2, low=0),
        number("lambda", "shared", 1.0),
    ),
    space="task vectors",
    source="Wang et al., Localizing task information for improved model merging and compression, 2024, "
    "arXiv 2405.07813",
    differences="not in mergekit",
)

EMR_UNIFIED = EmrUnified(
    name="emr_unified",
    base="required",
    parameters=(number("lambda", "shared", 1.0),),
    space="task vectors",
    source="Huang et al., EMR-Merging, 2024, arXiv 2405.17461, the unified task vector of its election",
    differences="not in mergekit",
)

METHODS = (CONSENSUS, EMR_UNIFIED)
