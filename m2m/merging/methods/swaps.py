"""Two-model methods that take each element from one side or the other: nearswap, arcee_fusion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.merging.compiled import ExpertSpec, NearSwapPass, SelectSpec
from m2m.merging.methods.parameters import Parameter, Settings
from m2m.merging.methods.selection import Selecting
from m2m.merging.methods.spec import Elementwise, Inputs

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.window import Window

#: Keeps the logarithm of a softmax value finite; part of the method's definition.
_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class NearSwap(Elementwise):
    """θ where |τ| ≤ t, else θ₀ ± t, which is θ₀ + min(1, t/|τ|)·τ; in float64, rounded once."""

    def passes(self, window: Window) -> Iterator[StreamPass]:
        steps = [0.0 if tensor.copied else tensor.settings[0].number("t") for tensor in window.tensors]
        yield NearSwapPass(window.core, window.first, steps=steps, allow_nonfinite=window.allow_nonfinite)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import round_once, task_vectors

        assert inputs.base is not None
        expert, t = inputs.experts[0], settings.number("t")
        vector = task_vectors(inputs.base, [expert])[0].double()
        step = torch.copysign(torch.tensor(t, dtype=torch.float64), vector)
        moved = torch.where(vector.abs() <= t, expert.double(), inputs.base.double() + step)
        return round_once(moved, out_dtype)


NEARSWAP = NearSwap(
    name="nearswap",
    base="required",
    most=1,
    parameters=(Parameter("t", "shared", "number", required=True, low=0, open_low=True),),
    space="task vectors",
    source="alchemonaut, QuartetAnemoi-70B-t0.0001 (model card)",
)


@dataclass(frozen=True, kw_only=True)
class ArceeFusion(Selecting):
    """Elements whose importance |τ|·KL(row) is at least median + 1.5·(Q3 − Q1) are the expert's.

    KL(row) = Σ p log(p/q), p and q the softmax over the last axis of expert and base, each plus 1e-8;
    float64. A quantile f is the element of rank floor(f·(P−1)) in ascending order, exact.
    """

    def row_length(self, shape: Sequence[int]) -> int:
        return max(shape[-1], 1) if shape else 1

    def select_spec(self, settings: Sequence[Settings], shape: Sequence[int]) -> SelectSpec:
        experts = [ExpertSpec(trim="all") for _ in settings[0].each]
        outputs = [([1.0] * len(experts), 1.0) for _ in settings]
        return SelectSpec(combine="fuse", row=self.row_length(shape), experts=experts, outputs=outputs)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import round_once, task_vectors

        del settings
        assert inputs.base is not None
        base, expert = inputs.base, inputs.experts[0]
        vector = task_vectors(base, [expert])[0].double()
        swapped = torch.where(_important(base, expert, vector), expert.double(), base.double())
        return round_once(swapped, out_dtype)


def _important(base: Tensor, expert: Tensor, vector: Tensor) -> Tensor:
    # A mask. [*S]
    import torch

    if not vector.numel():
        return torch.zeros_like(vector, dtype=torch.bool)
    p, q = (torch.softmax(_rows(tensor.double()), dim=-1) + _EPSILON for tensor in (expert, base))
    divergence = (p * torch.log(p / q)).sum(dim=-1, keepdim=True)
    importance = _rows(vector).abs() * divergence
    flat = importance.reshape(-1)
    first, median, third = (
        flat.kthvalue(math.floor(f * (flat.numel() - 1)) + 1).values for f in (0.25, 0.5, 0.75)
    )
    return (importance >= median + 1.5 * (third - first)).reshape(vector.shape)


def _rows(values: Tensor) -> Tensor:
    return values if values.dim() else values.reshape(1)


ARCEE_FUSION = ArceeFusion(
    name="arcee_fusion",
    base="required",
    most=1,
    space="task vectors",
    source="Arcee Fusion, defined by mergekit (docs.arcee.ai)",
    differences="quartiles are exact (mergekit: of 1 M random elements); chosen elements are copied",
)

METHODS = (NEARSWAP, ARCEE_FUSION)
