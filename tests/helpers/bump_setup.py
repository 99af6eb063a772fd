"""Two bowls, and a narrow bump of one of them on the diagonal, where only their mixture goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2m.setups.protocol import Batch, Examples, Target
from m2m.support.progress import Progress


class Place(nn.Module):
    """A point; the bump looks at its first two coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, which: Tensor) -> Tensor:
        return self.x.expand(len(which), 4)


@dataclass
class BumpSetup:
    """Losses −x_k + 0.05 ‖x‖² of dataset k, whose gradient of the first has a bump of `height` at (c, c)."""

    center: float
    width: float
    height: float
    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    metrics: Mapping[str, bool] = field(default_factory=lambda: {"loss": False})
    version: str = "bump-1"
    batch_size: int = 1

    def build(self) -> nn.Module:
        return Place()

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        return {"x": torch.zeros(4, dtype=torch.float64)}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.judge(model(**self.inputs(batch)), batch)["loss"]

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {"which": batch[0]}

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        first = batch[0].flatten() == 0
        away = (output[:, :2] - self.center) / self.width
        bump = self.height * self.width * away[:, 0] * torch.exp(-(away**2).sum(1) / 2)
        bowl = 0.05 * (output**2).sum(1) - torch.where(first, output[:, 0], output[:, 1])
        return {"loss": bowl + torch.where(first, bump, 0.0)}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        return batch[0].reshape(-1, 1)


def bump_setup(center: float, width: float, height: float) -> BumpSetup:
    """Make the set-up; a bump of height h pushes the mixture by up to h/2 a unit of learning rate."""
    examples = [Examples((torch.full((1, 1), float(number), dtype=torch.float64),)) for number in (0, 1)]
    target = {"target": Target(examples[0], examples[0])}
    return BumpSetup(center, width, height, dict(zip("ab", examples, strict=True)), target)
