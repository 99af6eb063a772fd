"""fisher: average in which every element is weighted by how sure its expert is of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m2m.checkpoint.header import MERGEABLE
from m2m.errors import CheckpointError
from m2m.merging.compiled import FisherPass
from m2m.merging.methods.parameters import Parameter, Settings, number
from m2m.merging.methods.spec import Elementwise, Inputs
from m2m.merging.methods.weighted import normaliser

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from m2m.checkpoint.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo
    from m2m.merging.compiled import StreamPass
    from m2m.merging.plan.window import Window


@dataclass(frozen=True, kw_only=True)
class Fisher(Elementwise):
    """Contract, float64, n ascending from 0.0: g_n = w_n·max(F_n, floor); Σ g_n·θ_n / Σ g_n, rounded once."""

    def check(self, settings: Settings) -> None:
        normaliser(settings.numbers("weight"), settings)

    def more_inputs(
        self, settings: Settings, experts: Sequence[TensorInfo], open_file: Callable[[str], Checkpoint]
    ) -> tuple[TensorInfo, ...]:
        # The diagonal Fisher estimates: in files like checkpoints, one number for every weight of an expert.
        files = [str(values["fisher"]) for values in settings.each]
        return tuple(
            _estimate(path, open_file(path), expert) for path, expert in zip(files, experts, strict=True)
        )

    def passes(self, window: Window) -> Iterator[StreamPass]:
        tensors: list[tuple[float, list[float]]] = [
            (0.0, [])
            if tensor.copied
            else (tensor.settings[0].number("floor"), tensor.settings[0].numbers("weight"))
            for tensor in window.tensors
        ]
        yield FisherPass(window.core, window.first, tensors=tensors, allow_nonfinite=window.allow_nonfinite)

    def reference(self, inputs: Inputs, settings: Settings, out_dtype: dtype) -> Tensor:
        import torch

        from m2m.merging.methods.exact import round_once

        numerator = torch.zeros(inputs.experts[0].shape, dtype=torch.float64)
        denominator = torch.zeros_like(numerator)
        for n, (expert, fisher, weight) in enumerate(
            zip(inputs.experts, inputs.fisher, settings.numbers("weight"), strict=True)
        ):
            if fisher.shape != expert.shape or bool((fisher < 0).any()):
                raise CheckpointError(
                    f"Fisher estimate {n} of {settings.tensor} must be {tuple(expert.shape)} and not "
                    f"negative, got {tuple(fisher.shape)}, "
                    f"smallest {fisher.min().item() if fisher.numel() else None}"
                )
            share = weight * fisher.double().clamp(min=settings.number("floor"))
            numerator = numerator + share * expert.double()
            denominator = denominator + share
        return round_once(numerator / denominator, out_dtype)


def _estimate(path: str, file: Checkpoint, expert: TensorInfo) -> TensorInfo:
    found = file.tensors.get(expert.name)
    if found is None:
        raise CheckpointError(f"{path}: holds no Fisher estimate of tensor {expert.name!r}")
    if found.shape != expert.shape or found.dtype not in MERGEABLE:
        raise CheckpointError(
            f"{path}: Fisher estimate {expert.name!r} is {found.dtype} of shape {list(found.shape)}, "
            f"wanted floats of shape {list(expert.shape)} as in {expert.file}"
        )
    return found


FISHER = Fisher(
    name="fisher",
    base="ignored",
    parameters=(
        number("weight", "model", 1.0, low=0),
        Parameter("fisher", "model", "text", required=True),
        number("floor", "shared", 1e-6, low=0, open_low=True),
    ),
    space="weights",
    source="Matena, Raffel, Merging models with Fisher-weighted averaging, 2022, arXiv 2111.09832, eq. 4",
    differences="not in mergekit",
)

METHODS = (FISHER,)
