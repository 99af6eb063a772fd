"""Which metric decides on each target of a run, and which way is up, as its results tell.

Where a run chooses for one target and its set-up judges all of them, that is the `metric` of the results.
Where tasks judge some, or several targets count at once, `metrics` has each target's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def headline(results: Mapping[str, Any], target: str) -> tuple[str, bool]:
    """Find the metric that decides on a target.

    Args:
        results: Content of `results.json`.
        target: The target's name.

    Returns:
        The metric's name, and whether higher is better.
    """
    found = _of(results, target)
    return found["metric"], found["higher_is_better"]


def _of(results: Mapping[str, Any], target: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = results.get("metrics", {}).get(target, results)
    return found


def headline_rows(scores: pd.DataFrame, results: Mapping[str, Any]) -> pd.DataFrame:
    """Keep of a run's scores those of the metric that decides on each task.

    Args:
        scores: Rows of its table, with columns `task` and `metric`.
        results: Content of `results.json`.

    Returns:
        The rows, in their order.
    """
    decides = {task: _of(results, str(task))["metric"] for task in scores["task"].unique()}
    return scores[scores["metric"] == scores["task"].map(decides)]


def in_words(metric: str, higher_is_better: bool) -> str:
    """Name a metric and which way is better: `loss (lower is better)`."""
    return f"{metric} ({'higher' if higher_is_better else 'lower'} is better)"
