"""A set-up small enough for closed forms: linear regression, loss ½(x·θ − y)², in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from m2m.setups.protocol import Batch, Examples, Target
from m2m.support.progress import Progress


class LinearModel(nn.Module):
    """θ is trained; `scale` is frozen, and `calls` is an integer buffer, as in real models."""

    calls: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.theta) * self.scale


@dataclass
class LinearSetup:
    """Datasets are pairs (X [E, D], y [E])."""

    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target] = field(default_factory=dict)
    metrics: Mapping[str, bool] = field(default_factory=lambda: {"loss": False})
    version: str = "linear-1"
    batch_size: int = 4

    @property
    def width(self) -> int:
        return next(iter(self.datasets.values())).tensors[0].shape[1]

    def build(self) -> nn.Module:
        return LinearModel(self.width)

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        state = {name: value.clone() for name, value in self.build().state_dict().items()}
        state["theta"] = torch.randn(self.width, dtype=torch.float64, generator=generator)
        return state

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.judge(model(**self.inputs(batch)), batch)["loss"]

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {"x": batch[0]}

    def judge(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (output - batch[1]) ** 2 / 2}

    def records(self, dataset: str) -> list[dict[str, object]]:
        x, y = self.datasets[dataset].tensors
        return [{"x": row, "y": value} for row, value in zip(x.tolist(), y.tolist(), strict=True)]

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        return batch[0] * model.theta


def linear_setup(
    seed: int, names: str = "abc", width: int = 5, examples: int = 2, shared: bool = False
) -> LinearSetup:
    """Make random datasets; with `shared` all have the same X, and so the same Hessian XᵀX/E."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    common = normal(examples, width)
    inputs = {name: common if shared else normal(examples, width) for name in names}
    datasets = {name: Examples((x, x @ normal(width))) for name, x in inputs.items()}
    validation, test = (Examples((normal(7, width), normal(7))) for _ in range(2))
    return LinearSetup(datasets, {"target": Target(validation, test)})


def from_table(spec: Mapping[str, object]) -> LinearSetup:
    """Make the set-up of a configuration whose `factory` names this function."""
    return linear_setup(seed=11, examples=4)


def run_config(run: str = "", *, steps: int = 3, batch: int = 2, learning_rate: float = 0.05) -> str:
    """Return the text of a run configuration of this set-up; `run` is more lines for its `[run]` table.

    A batch of 24 is the full one of every subset of the three datasets, of four examples each.
    """
    return f"""
[run]
target = "target"
{run}
[train]
steps = {steps}
batch = {batch}
optimizer = "sgd"
learning_rate = {learning_rate}
[setup]
kind = "python"
factory = "{Path(__file__)}:from_table"
"""
