"""The Scorer protocol: what turns a model into scores that carry their examples, and keeps its promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from m2m.errors import InputError
from m2m.support.arrays import LARGEST_SCORE, Floats


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
    """Hold what a task returned against what it promised.

    Args:
        scorer: The task.
        scores: What it returned.

    Returns:
        The same scores.

    Raises:
        InputError: If a metric is missing or unknown, is not one number an example, or has a value or a mean
            that is not finite.
    """
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
