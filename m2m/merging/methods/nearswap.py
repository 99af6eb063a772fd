"""nearswap: every base weight moves towards the expert's by at most t."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.merging.compiled import NearSwapPass
from m2m.merging.methods.spec import Elementwise, Inputs, Parameter, Settings

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.merging.compiled import StreamPass
    from m2m.merging.stream.passes import Window


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

METHODS = (NEARSWAP,)
