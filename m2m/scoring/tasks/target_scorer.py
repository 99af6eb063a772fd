"""Score a module on one of a set-up's targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from m2m.errors import ConfigError
from m2m.scoring.tasks.batched_scorer import BatchedScorer, TaskBatch
from m2m.setups.protocol import Batch, Examples, Setup


class TargetScorer(BatchedScorer):
    """A set-up's target as a task (see `BatchedScorer`): each metric of each of its examples.

    Args:
        setup: The set-up that has the target.
        target: The target's name.
        split: `validation` to choose on, `test` for finished models.

    Attributes:
        task: The target's name.
        split: The split's name.
        version: The set-up's content hash.
        metrics: The set-up's metrics.
        count: Number of the split's examples E.

    Raises:
        ConfigError: If there is no such target or split, or it has no examples.
    """

    def __init__(self, setup: Setup, target: str, split: str = "validation") -> None:
        if target not in setup.targets:
            raise ConfigError(f"no target {target!r}; the set-up has {list(setup.targets)}")
        if split not in ("validation", "test"):
            raise ConfigError(f"a target is scored on 'validation' or 'test', got {split!r}")
        self.task, self.split, self.version, self.metrics = target, split, setup.version, setup.metrics
        self._setup = setup
        self._examples: Examples = getattr(setup.targets[target], split)
        self.count = len(self._examples)
        if not self.count:
            raise ConfigError(f"target {target!r} has no {split} examples")

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches of the set-up's size.

        Args:
            examples: Example numbers in [0, E); None for all.

        Yields:
            TaskBatch: The next examples; its reference is the set-up's fields, by number.
        """
        chosen = self._examples if examples is None else self._chosen(examples)
        for fields in chosen.batches(self._setup.batch_size):
            yield TaskBatch(self._setup.inputs(fields), {str(at): field for at, field in enumerate(fields)})

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge by the set-up's metrics.

        Args:
            output: What the model returned.
            batch: The batch that went in.

        Returns:
            Each metric's value for each of the batch's examples. each [B]
        """
        fields: Batch = tuple(batch.reference.values())
        return self._setup.judge(output, fields)

    def _chosen(self, examples: Sequence[int]) -> Examples:
        return Examples(self._examples.take(torch.as_tensor(examples, dtype=torch.int64)))
