"""A set-up whose dense Hessian fits: a tanh net of about 200 parameters, three classes, float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from m2m.setups.protocol import Batch, Examples, Target
from m2m.support.progress import Progress

INPUTS, HIDDEN, CLASSES = 6, 10, 3


class SmallNet(nn.Module):
    """Two SiLU-and-tanh layers; `unused` takes no part, as rows of an embedding may not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(INPUTS, HIDDEN, dtype=torch.float64)
        self.second = nn.Linear(HIDDEN, HIDDEN, dtype=torch.float64)
        self.head = nn.Linear(HIDDEN, CLASSES, bias=False, dtype=torch.float64)
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.frozen = nn.Parameter(torch.full((1,), 1.5, dtype=torch.float64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.second(functional.silu(self.first(x))))
        out: Tensor = self.head(hidden) * self.frozen
        return out


@dataclass
class SmallNetSetup:
    """Datasets are pairs (x [E, 6], label [E]) that differ in inputs and labels."""

    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    metrics: Mapping[str, bool] = field(default_factory=lambda: {"loss": False})
    version: str = "small-net-1"
    batch_size: int = 5

    def build(self) -> nn.Module:
        return SmallNet()

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(3)
        return {
            name: torch.randn(value.shape, dtype=torch.float64, generator=generator) / value.shape[-1] ** 0.5
            if value.ndim == 2
            else value.clone().zero_()
            if name.endswith("bias")
            else value.clone()
            for name, value in self.build().state_dict().items()
        }

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.judge(model(**self.inputs(batch)), batch)["loss"]

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {"x": batch[0]}

    def judge(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": functional.cross_entropy(output, batch[1], reduction="none")}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        return batch[0]


def small_net_setup(seed: int = 0, names: str = "abc", examples: int = 12) -> SmallNetSetup:
    """Make datasets whose inputs are scaled differently, so that their Hessians differ."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Examples:
        scale = torch.rand(INPUTS, dtype=torch.float64, generator=generator) * 2
        x = torch.randn(count, INPUTS, dtype=torch.float64, generator=generator) * scale
        return Examples((x, torch.randint(0, CLASSES, (count,), generator=generator)))

    datasets = {name: draw(examples) for name in names}
    return SmallNetSetup(datasets, {"target": Target(draw(13), draw(7))})
