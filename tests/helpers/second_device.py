"""A second real device on a machine without a GPU: torch's own `lazy`, whose tensors TorchScript computes.

An operation that meets tensors of both devices fails there as it would on a GPU, so whatever passes has
brought everything to the right place. Two things it lacks: views in inference mode (`no_grad` does instead),
and the weighted sum, which passes through the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from m2m import ops
from m2m.scoring.live import box_sums, staging


def second_device(patch: pytest.MonkeyPatch) -> torch.device:
    """Open the device for one test."""
    backend = pytest.importorskip("torch._lazy.ts_backend")
    if "ready" not in vars(second_device):
        backend.init()
        vars(second_device)["ready"] = True
    patch.setattr(torch, "inference_mode", torch.no_grad)
    for module in (box_sums, staging):
        patch.setattr(module, "weighted_sum_into", _by_way_of_the_cpu)
    return torch.device("lazy", 0)


def _by_way_of_the_cpu(
    outs: Sequence[Tensor], experts: Sequence[Tensor], weights: Tensor, *, threads: int | None = None
) -> None:
    assert len({tensor.device for tensor in (*outs, *experts)}) == 1
    merged = ops.weighted_sum([expert.cpu() for expert in experts], weights, threads=threads)
    for out, one in zip(outs, merged, strict=True):
        out.copy_(one.to(out.device))
