"""Logarithmic axes labelled in plain numbers: the common look leaves dollar signs alone, so no mathtext."""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


def logarithmic(axes: Axes, *which: Literal["x", "y"]) -> None:
    """Make axes logarithmic.

    Args:
        axes: The panel.
        *which: `x`, `y` or both.
    """
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
        within_a_decade = high < 30 * low
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_a_decade else (1,), numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
