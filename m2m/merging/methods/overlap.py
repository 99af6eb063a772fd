"""Methods that tell what one expert moves from what several do: ram, ramplus_tl."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from m2m.merging.compiled import OverlapLook, OverlapMergePass
from m2m.merging.methods.parameters import Settings, number
from m2m.merging.methods.spec import Elementwise, Inputs, Method

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.tensors import PlannedTensor
    from m2m.merging.plan.window import Window


@dataclass(frozen=True, kw_only=True)
class Ram(Elementwise):
    """θ₀ + the mean of the task vectors that move an element: where one alone does, that one whole.

    Contract, float64, n ascending from 0.0: expert n moves an element if |τ_n| > epsilon; the change is the
    sum of τ_n over the c experts that move it, divided by max(c, 1).
    """

    def passes(self, window: Window) -> Iterator[StreamPass]:
        yield _merge_pass(window, [_ones(tensor) for tensor in window.tensors])

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        vectors, moves = _moves(inputs, settings)
        return _merged(inputs, vectors, moves, [1.0] * len(vectors), out_dtype)


@dataclass(frozen=True, kw_only=True)
class RamPlus(Method):
    """As ram, but what an expert moves alone is longer, the more so the more of the rest it shares.

    Contract, float64: of a tensor's elements expert n moves s_n together with others and u_n alone. What it
    moves alone is multiplied by λ_n = 1 + r·min(s_n/u_n, alpha).
    """

    kind: ClassVar[Literal["selection"]] = "selection"
    takes_candidates: ClassVar[bool] = False

    def passes(self, window: Window) -> Iterator[StreamPass]:
        table = _table(window, [_ones(tensor) for tensor in window.tensors])
        look = OverlapLook(window.core, window.first, tensors=table)
        yield look
        gains = [
            [] if tensor.copied else _gains(look.counts(number), tensor.settings[0])
            for number, tensor in enumerate(window.tensors, start=window.first)
        ]
        yield _merge_pass(window, gains)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        vectors, moves = _moves(inputs, settings)
        together = sum(mask.int() for mask in moves)
        counts = [(int((mask & (together > 1)).sum()), int((mask & (together == 1)).sum())) for mask in moves]
        return _merged(inputs, vectors, moves, _gains(counts, settings), out_dtype)


def _gains(counts: Sequence[tuple[int, int]], settings: Settings) -> list[float]:
    # λ_n of what each expert moves alone, from how much it moves with others and alone. [N]
    r, alpha = settings.number("r"), settings.number("alpha")
    return [1.0 + r * min(shared / alone, alpha) if alone else 1.0 for shared, alone in counts]


def _ones(tensor: PlannedTensor) -> list[float]:
    return [] if tensor.copied else [1.0] * len(tensor.settings[0].each)


def _table(window: Window, gains: Sequence[list[float]]) -> list[tuple[float, list[float]]]:
    return [
        (0.0 if tensor.copied else tensor.settings[0].number("epsilon"), own)
        for tensor, own in zip(window.tensors, gains, strict=True)
    ]


def _merge_pass(window: Window, gains: Sequence[list[float]]) -> OverlapMergePass:
    table = _table(window, gains)
    return OverlapMergePass(window.core, window.first, tensors=table, allow_nonfinite=window.allow_nonfinite)


def _moves(inputs: Inputs, settings: Settings) -> tuple[list[Tensor], list[Tensor]]:
    # Task vectors in float64, and which elements each of them moves. each [*S]
    from m2m.merging.methods.exact import task_vectors

    assert inputs.base is not None
    vectors = [vector.double() for vector in task_vectors(inputs.base, inputs.experts)]
    return vectors, [vector.abs() > settings.number("epsilon") for vector in vectors]


def _merged(
    inputs: Inputs, vectors: list[Tensor], moves: list[Tensor], gains: list[float], out_dtype: dtype
) -> Tensor:
    import torch

    from m2m.merging.methods.exact import add_to_base, ascending_sum

    assert inputs.base is not None
    together = ascending_sum([mask.double() for mask in moves])
    change = ascending_sum(
        [
            torch.where(mask, torch.where(together == 1, gain * vector, vector), 0.0)
            for vector, mask, gain in zip(vectors, moves, gains, strict=True)
        ]
    )
    return add_to_base(inputs.base, change / together.clamp(min=1), out_dtype)


_SOURCE = "Yuan et al., Behavior Knowledge Merge in Reinforced Agentic Models, 2026, arXiv 2601.13572"
_EPSILON = number("epsilon", "shared", 1e-5, low=0)

RAM = Ram(name="ram", base="required", parameters=(_EPSILON,), space="task vectors", source=f"{_SOURCE}, RAM")

RAMPLUS_TL = RamPlus(
    name="ramplus_tl",
    base="required",
    parameters=(
        number("r", "shared", 0.1),
        number("alpha", "shared", 0.2, low=0),
        _EPSILON,
    ),
    space="task vectors",
    source=f"{_SOURCE}, RAM+, counted tensor by tensor as mergekit does",
)

METHODS = (RAM, RAMPLUS_TL)
