"""The Scorer protocol: what turns a live model into scores that carry their examples with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from m2m.support.arrays import Floats


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
