"""A set-up of a very small byte GPT in float32: linear layers to adapt, three datasets of random bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from m2m.setups.byte_gpt import ByteGPT, Shape
from m2m.setups.protocol import Batch, Examples, Target
from m2m.support.progress import Progress

SHAPE = Shape(layers=1, width=8, heads=2, context=6)


@dataclass
class ByteSetup:
    """Datasets are windows of bytes [E, 7]."""

    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target] = field(default_factory=dict)
    metrics: Mapping[str, bool] = field(default_factory=lambda: {"loss": False})
    version: str = "bytes-1"
    batch_size: int = 4
    frozen: bool = False

    def build(self) -> nn.Module:
        return ByteGPT(SHAPE).requires_grad_(not self.frozen)

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        model = ByteGPT(SHAPE)
        model.initialise(0)
        return model.state_dict()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.judge(model(**self.inputs(batch)), batch)["loss"]

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {"tokens": batch[0][:, :-1]}

    def judge(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        following = batch[0][:, 1:]
        nats = functional.cross_entropy(output.flatten(0, 1), following.flatten(), reduction="none")
        return {"loss": nats.view(len(following), -1).mean(1)}

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, ByteGPT)
        return model.hidden(batch[0][:, :-1]).mean(1)


def byte_setup(examples: int = 4) -> ByteSetup:
    """Make three datasets of `examples` windows, and a target."""
    generator = torch.Generator().manual_seed(3)

    def windows(count: int, low: int) -> Examples:
        return Examples((torch.randint(low, low + 40, (count, SHAPE.context + 1), generator=generator),))

    datasets = {name: windows(examples, 20 * at) for at, name in enumerate("abc")}
    return ByteSetup(datasets, {"target": Target(windows(5, 10), windows(5, 10))})


def from_table(spec: Mapping[str, object]) -> ByteSetup:
    """Make the set-up of a configuration whose `factory` names this function."""
    return byte_setup()
