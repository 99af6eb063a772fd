"""A set-up as the theory wants it: fewer examples if asked, and arithmetic in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2m.errors import InputError
from m2m.setups.protocol import Batch, Examples, Setup, Target
from m2m.support.progress import Progress


@dataclass
class StudySetup:
    """Another set-up in another precision, possibly on fewer examples; see `protocol.Setup`.

    Attributes:
        original: The set-up it stands for.
        datasets: Training examples by dataset name.
        targets: Targets by name.
        metrics: The original's metrics.
        version: The original's version, and what was changed.
        batch_size: Examples a batch in evaluation.
        dtype: Type of all floating-point tensors; None leaves each as it is.
    """

    original: Setup
    datasets: Mapping[str, Examples]
    targets: Mapping[str, Target]
    metrics: Mapping[str, bool]
    version: str
    batch_size: int
    dtype: torch.dtype | None

    def build(self) -> nn.Module:
        """Return a new module of the base architecture."""
        return self.original.build().to(self.dtype)

    def base_state(self, cache: Path, progress: Progress | None = None) -> dict[str, Tensor]:
        """Return θ₀.

        Args:
            cache: Folder where what is made is kept.
            progress: Told about pretraining.

        Returns:
            Tensor by name.
        """
        return self.cast(self.original.base_state(cache, progress))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the training loss of each example.

        Args:
            model: A module from `build`.
            batch: Fields of the examples. each [B, ...]

        Returns:
            Losses, in nat. [B]
        """
        return self.original.loss(model, self._cast_batch(batch))

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return what of a batch goes into the model.

        Args:
            batch: Fields of the examples. each [B, ...]

        Returns:
            Keyword arguments of the model's forward. each [B, ...]
        """
        return self.original.inputs(self._cast_batch(batch))

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Judge each example by what the model returned.

        Args:
            output: What the model returned.
            batch: Fields of the examples. each [B, ...]

        Returns:
            Each metric's values. each [B]
        """
        return self.original.judge(output, self._cast_batch(batch))

    def embed(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return an embedding of each example.

        Args:
            model: A module from `build`.
            batch: Fields of the examples. each [B, ...]

        Returns:
            Embeddings. [B, D]
        """
        return self.original.embed(model, self._cast_batch(batch))

    def cast(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring a checkpoint's tensors to this set-up's precision.

        Args:
            state: Tensor by name.

        Returns:
            The same, floating-point tensors in `dtype`.
        """
        return {name: _cast(tensor, self.dtype) for name, tensor in state.items()}

    def _cast_batch(self, batch: Batch) -> Batch:
        return tuple(_cast(field, self.dtype) for field in batch)


def study_setup(setup: Setup, examples: int | None = None, *, float64: bool = True) -> StudySetup:
    """Prepare a set-up for exact work.

    Args:
        setup: Any set-up.
        examples: Examples taken from every dataset and target split, at even distances; None: all of them.
        float64: Whether weights and inputs are cast to float64; else every tensor stays as it is.

    Returns:
        The set-up to study.

    Raises:
        InputError: If `examples` is below 1.
    """
    if examples is not None and examples < 1:
        raise InputError(f"at least 1 example a dataset is needed, got {examples}")
    return StudySetup(
        original=setup,
        datasets={name: _spread(data, examples) for name, data in setup.datasets.items()},
        targets={
            name: Target(_spread(target.validation, examples), _spread(target.test, examples))
            for name, target in setup.targets.items()
        },
        metrics=setup.metrics,
        version=f"{setup.version} examples={examples} float64={float64}",
        batch_size=setup.batch_size,
        dtype=torch.float64 if float64 else None,
    )


def _spread(data: Examples, count: int | None) -> Examples:
    if count is None or count >= len(data):
        return data
    return Examples(data.take(torch.arange(count) * len(data) // count))


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
