"""Tasks: the Scorer protocol and its promises, tasks that come in batches, how a module is run for them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from m2m.errors import InputError, M2MError
from m2m.setups.top_of_model import TopOfModel
from m2m.support.arrays import LARGEST_SCORE, Floats
from m2m.support.process_memory import out_of_memory


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one task: never a bare number.

    Attributes:
        values: Metric name to the value of each example, float64. each [E]
    """

    values: Mapping[str, Floats]

    @property
    def count(self) -> int:
        """Number of examples E."""
        return len(next(iter(self.values.values())))

    def mean(self, metric: str) -> float:
        """Average one metric over the examples.

        Args:
            metric: The metric's name.

        Returns:
            The mean of its per-example values, in the metric's unit.
        """
        return float(np.mean(self.values[metric]))


class Scorer(Protocol):
    """A task: scores a live module, example by example.

    Attributes:
        task: Name of the task (a target's name, a benchmark's name).
        split: `validation` or `test`.
        version: Content hash of the task's examples and metric definitions; part of the cache key.
        metrics: Metric name to whether higher is better; the first is the headline metric.
    """

    task: str
    split: str
    version: str
    metrics: Mapping[str, bool]

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now; its weights and mode are left as they were."""


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
            return joined(
                self.task, [self.judge(output_of(model, batch, self.task), batch) for batch in batches]
            )

    def __call__(self, model: nn.Module) -> Scores:
        """Score the module as it is now on all examples; its weights and modes are left as they were."""
        return self.score(model)


class SomeExamples(BatchedScorer):
    """Some of a task's examples, by number, as a task: what a race asks for."""

    def __init__(self, whole: BatchedScorer, numbers: Sequence[int]) -> None:
        self.task, self.split = whole.task, whole.split
        self.version, self.metrics = whole.version, whole.metrics
        self.numbers, self.count = numbers, len(numbers)
        self._whole = whole

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over these examples, or over some of them, by their places among these."""
        chosen = self.numbers if examples is None else [self.numbers[at] for at in examples]
        return self._whole.batches(chosen)

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge as the whole task does."""
        return self._whole.judge(output, batch)


def output_of(model: nn.Module, batch: TaskBatch, task: str) -> Any:
    """Run a module on a batch of a task.

    Args:
        model: The module.
        batch: The batch, where the module is.
        task: Name of the task.

    Returns:
        What its forward returns.

    Raises:
        InputError: If a module of transformers cannot do with such inputs.
    """
    try:
        return model(**batch.inputs)
    except Exception as error:
        # What a module of the user's own does wrong is told with the line of its code.
        own = not type(model).__module__.startswith("transformers.")
        if own or isinstance(error, M2MError) or out_of_memory(error):
            raise
        given = ", ".join(f"{name} {[*field.shape]} {field.dtype}" for name, field in batch.inputs.items())
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"task {task}: {type(model).__name__} fails on its inputs, {given.replace('torch.', '')}: "
            f"{said:.200}"
        ) from error


def joined(task: str, parts: Sequence[Mapping[str, Tensor]]) -> Scores:
    """Join what a task made of its batches, each [B]; an error unless each metric is a number an example."""
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


def score_model(model: nn.Module, scorers: Sequence[Scorer]) -> list[Scores]:
    """Score a module as it is now on several tasks.

    Args:
        model: The live module.
        scorers: The tasks.

    Returns:
        One `Scores` a task, every value finite.
    """
    return [checked_scores(scorer, scorer(model)) for scorer in scorers]


def checked_scores(scorer: Scorer, scores: Scores) -> Scores:
    """Hold what a task returned against what it promised: a finite number an example, of each metric."""
    where = f"task {scorer.task} ({scorer.split})"
    if set(scores.values) != set(scorer.metrics):
        raise InputError(f"{where}: got the metrics {list(scores.values)}, wanted {list(scorer.metrics)}")
    for metric, values in scores.values.items():
        if np.ndim(values) != 1 or values.dtype.kind != "f":
            raise InputError(
                f"{where}: {metric} must be one float an example, got {list(np.shape(values))} {values.dtype}"
            )
    wanted = getattr(scorer, "count", scores.count)
    if any(len(values) != wanted for values in scores.values.values()) or not wanted:
        counts = {metric: len(values) for metric, values in scores.values.items()}
        raise InputError(f"{where}: every metric needs a value for each of {wanted} examples, got {counts}")
    for metric, values in scores.values.items():
        bad = np.flatnonzero(~(np.abs(values) <= LARGEST_SCORE))
        if bad.size:
            number = getattr(scorer, "numbers", range(wanted))[bad[0]]
            limit = f", wanted at most {LARGEST_SCORE:g} in size" if np.isfinite(values[bad[0]]) else ""
            raise InputError(f"{where}: {metric} of example {number} is {values[bad[0]]}{limit}")
    return scores


def at_least_float32(logits: Tensor) -> Tensor:
    """Widen half-precision logits, so that judging them adds no error of half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def whole_of(model: nn.Module) -> nn.Module:
    """The whole model, for who runs it in a way of his own, where a module is the top of one alone."""
    whole: nn.Module = model.whole() if isinstance(model, TopOfModel) else model
    return whole


def device_of(model: nn.Module) -> torch.device:
    """Where a module is: the device of its first tensor; the CPU if it has none."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """Put a module in evaluation and inference mode for the block; then each submodule has its own again.

    On a CUDA device, sums are done in the dtype they are in, and by the same algorithm every time.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(), repeatable() if device_of(model).type == "cuda" else nullcontext():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def repeatable() -> Iterator[None]:
    """Keep CUDA's libraries from rounding float32 to TF32, and from choosing algorithms by a stopwatch."""
    wanted = [
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cudnn, "benchmark", False),
        (torch.backends.cudnn, "deterministic", True),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    for place, name, value in wanted:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


@contextmanager
def same_draws() -> Iterator[None]:
    """Let the block draw the same random numbers every time, and leave the generators as they were."""
    # Users' code draws from numpy's global generator too.
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002
            random.seed(0)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


def _moved(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
