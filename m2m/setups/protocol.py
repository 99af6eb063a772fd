"""What a set-up is: a base model, datasets that experts are fine-tuned on, and targets they are scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from m2m.support.progress import Progress

#: Tensors of one batch, first axis = example.
Batch = tuple[Tensor, ...]
#: What a target has examples in.
Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Examples:
    """Examples as tensors that share their first axis.

    Attributes:
        tensors: One tensor a field (tokens; or images, labels, ...). each [E, ...]
    """

    tensors: Batch

    def __post_init__(self) -> None:
        if not self.tensors or len({len(field) for field in self.tensors}) != 1:
            raise ValueError(f"fields of different lengths: {[tuple(field.shape) for field in self.tensors]}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def take(self, index: Tensor) -> Batch:
        """Pick examples by number.

        Args:
            index: Example numbers, int64. [B]

        Returns:
            The fields of those examples. each [B, ...]
        """
        return tuple(field[index] for field in self.tensors)

    def batches(self, size: int) -> Iterator[Batch]:
        """Walk over all examples in order.

        Args:
            size: Examples a batch; the last one may be shorter.

        Yields:
            Batch: The next fields. each [B, ...]
        """
        for start in range(0, len(self), size):
            yield tuple(field[start : start + size] for field in self.tensors)


@dataclass(frozen=True)
class Target:
    """What the mixture is chosen for.

    Attributes:
        validation: Candidates are scored and chosen on these.
        test: Only finished models see these; nothing is chosen on them.
    """

    validation: Examples
    test: Examples


class Setup(Protocol):
    """One experiment's model and data, behind the few calls that training and scoring need.

    Everything is deterministic: two set-ups with equal `version` give equal tensors.

    Attributes:
        datasets: Training examples by dataset name, in the run's order (N of them).
        targets: Targets by name.
        metrics: Metric name to whether higher is better; the first one is the headline metric.
        version: Content hash of data, model and metric definitions; part of every cache key.
        batch_size: Examples a batch in evaluation.
    """

    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    metrics: Mapping[str, bool]
    version: str
    batch_size: int

    def build(self) -> nn.Module:
        """Return a new module of the base architecture (frozen parts loaded, the rest to be loaded over)."""

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀, made (pretrained, converted, fitted) on first use and kept under `cache`."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the training loss of each example, in nat: [B]."""

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return what of a batch goes into the model: keyword arguments of its forward, each [B, ...]."""

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Return each metric's value for each example, from what the model returned: each [B]."""

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return an embedding of each example, for the similarity baseline: [B, D]."""


def logits_of(output: Any) -> Tensor:
    """Return the logits [B, ..., K]: what a model returned, or its `logits` as Hugging Face's have them."""
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name the parameters that fine-tuning moves and merging averages."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Copy a state into a module in place and return the module; names must agree exactly."""
    with torch.no_grad():
        model.load_state_dict(dict(state), strict=True)
    return model


def contents_of(setup: Setup) -> dict[str, str]:
    """Hash what is read, by part: `dataset NAME`, `target NAME`, and the set-up's own `version`."""
    contents = {f"dataset {name}": _hash(examples) for name, examples in setup.datasets.items()}
    for name, target in setup.targets.items():
        contents[f"target {name}"] = _hash(target.validation, target.test)
    return contents | {"version": setup.version}


def _hash(*several: Examples) -> str:
    content = hashlib.sha256()
    for examples in several:
        for field in examples.tensors:
            content.update(f"{field.dtype} {tuple(field.shape)}\n".encode())
            content.update(field.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()[:32]
