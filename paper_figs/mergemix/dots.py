"""Estimates with their intervals as rows of dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from paper_figs import style


def dots(axes: Axes, estimates: Sequence[Mapping[str, Any]], first: str = "all", at: float = 0.0) -> None:
    """Draw an estimate a row, from the top; without interval, the dot alone.

    Args:
        axes: Where.
        estimates: `value`, `low` and `high` of each.
        first: `one` gives the first row a look of its own.
        at: How far below its row each is drawn.
    """
    for row, estimate in enumerate(estimates):
        own = row == 0 and first == "one"
        color, marker = (style.VERMILION, "D") if own else (style.BLUE, "o")
        axes.plot([estimate["value"]], [row + at], marker=marker, markersize=4.5, color=color, zorder=3)
        if estimate["low"] is not None:
            axes.plot([estimate["low"], estimate["high"]], [row + at] * 2, color=color, linewidth=1.2)
    # Few ticks of few digits: four panels stand side by side.
    axes.locator_params(axis="x", nbins=3, steps=(1, 2, 4, 5, 10))


def named(axes: Axes, names: Sequence[str]) -> None:
    """Write the rows' names beside them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
