"""Tasks whose examples pass through a model in batches, so that one pass can serve many candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from m2m.errors import InputError
from m2m.scoring.tasks.mode import device_of, scoring
from m2m.scoring.tasks.scorer import Scores


@dataclass(frozen=True)
class TaskBatch:
    """Examples that go through the model together.

    Attributes:
        inputs: Keyword arguments of the model's forward, first axis = row.
        reference: What the task judges the output by (labels, masks, row of each example ...).
    """

    inputs: Mapping[str, Tensor]
    reference: Mapping[str, Tensor]

    def to(self, device: torch.device) -> TaskBatch:
        """Bring the batch to where it is needed.

        Args:
            device: The device.

        Returns:
            The same batch there; tensors that are there already are not copied.
        """
        return TaskBatch(_moved(self.inputs, device), _moved(self.reference, device))


class BatchedScorer(ABC):
    """A task (see `Scorer`) that keeps what goes into the model apart from how the output is judged.

    So any part of its examples can be scored (racing), and whoever has the model's output by another way
    (block by block, many candidates at once) can have it judged.

    Attributes:
        task: Name of the task.
        split: `validation` or `test`.
        version: Content hash of examples and metric definitions.
        metrics: Metric name to whether higher is better; the first is the headline metric.
        count: Number of examples E.
    """

    task: str
    split: str
    version: str
    metrics: Mapping[str, bool]
    count: int

    @abstractmethod
    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches, in the order given.

        Args:
            examples: Example numbers in [0, E); None for all.

        Returns:
            The batches.
        """

    @abstractmethod
    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge what a model made of a batch.

        Args:
            output: What the model's forward returned: logits, or an object that has `.logits`.
            batch: The batch that went in, on the model's device.

        Returns:
            Each metric's value for each of the batch's examples. each [B]
        """

    def score(self, model: nn.Module, examples: Sequence[int] | None = None) -> Scores:
        """Score the module as it is now on some of the examples.

        Args:
            model: The live module; its weights and modes are left as they were.
            examples: Example numbers; None for all.

        Returns:
            Each metric's value for each example, in the order given.
        """
        device = device_of(model)
        with scoring(model):
            batches = (batch.to(device) for batch in self.batches(examples))
            return joined(self.task, [self.judge(model(**batch.inputs), batch) for batch in batches])

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now on all examples.

        Args:
            model: The live module; its weights and modes are left as they were.

        Returns:
            Each metric's value for each example.
        """
        return self.score(model)


class SomeExamples(BatchedScorer):
    """Some of a task's examples, by number, as a task: what a race asks for."""

    def __init__(self, whole: BatchedScorer, numbers: Sequence[int]) -> None:
        self.task, self.split, self.version, self.metrics = (
            whole.task,
            whole.split,
            whole.version,
            whole.metrics,
        )
        self.numbers, self.count = numbers, len(numbers)
        self._whole = whole

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over these examples, or over some of them, by their places among these."""
        chosen = self.numbers if examples is None else [self.numbers[at] for at in examples]
        return self._whole.batches(chosen)

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge as the whole task does."""
        return self._whole.judge(output, batch)


def joined(task: str, parts: Sequence[Mapping[str, Tensor]]) -> Scores:
    """Put what a task made of its batches together.

    Args:
        task: Name of the task.
        parts: Each batch's values by metric, as `judge` returns them. each [B]

    Returns:
        Each metric's value for each example.

    Raises:
        InputError: If batches have different metrics, or a metric is not one real number an example.
    """
    metrics = list(parts[0]) if parts else []
    for number, part in enumerate(parts):
        if set(part) != set(metrics):
            raise InputError(
                f"task {task}: batch {number} is judged by {sorted(part)}, the first one by {sorted(metrics)}"
            )
        for metric, value in part.items():
            if not isinstance(value, Tensor) or value.dim() != 1 or value.is_complex():
                got = f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)
                raise InputError(
                    f"task {task}: {metric} of batch {number} must be a tensor of one real number an "
                    f"example, got {got:.80}"
                )
    return Scores(
        {metric: torch.cat([part[metric] for part in parts]).double().cpu().numpy() for metric in metrics}
    )


def _moved(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def at_least_float32(logits: Tensor) -> Tensor:
    """Widen half-precision logits, so that judging them adds no error of half precision.

    Args:
        logits: Logits of any floating-point dtype.

    Returns:
        The same in float32, or in float64 if they came so.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
