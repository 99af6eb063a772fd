"""What the numbers say, in words: an interval beside a threshold decides, never a hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What the intervals of the questions are about.
ABOUT = (
    "Intervals are for other targets (a jackknife over them, with the variance of training seeds where the "
    "truth has two); these datasets, and one seed of experts."
)


def verdict(found: Mapping[str, Any], above: str, below: str, neither: str, threshold: float = 0.0) -> str:
    """Choose words by where the whole interval of an estimate lies; without an interval nothing is told.

    Args:
        found: The estimate with its interval.
        above: If it lies above the threshold.
        below: If it lies below.
        neither: If it holds the threshold, or there is none.
        threshold: The threshold.

    Returns:
        The words.
    """
    low, high = found["low"], found["high"]
    if low is None or high is None or low <= threshold <= high:
        return neither
    return above if low > threshold else below


def about(content: Mapping[str, Any]) -> str:
    """Say on what a question was asked."""
    return f"{content['about']['title']}, {content['about']['model']}"
