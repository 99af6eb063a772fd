"""How far a merged model's score is ahead of what its members' own scores say, on quadratics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from m2m.support.csv_tables import read_frame
from paper_figs import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, NAME = "leads.csv", "leads"
#: What is varied, in words, a column of panels.
_VARIED = {
    "alike": "shared part of the datasets' minima",
    "own": "own part of a dataset's Hessian",
    "far": "the target's distance",
}
#: What merging is ahead of, a row of panels.
_ROWS = {
    "lead over mean": "merging's r minus\nthe members' mean's",
    "lead over best": "merging's r minus\nthe best member's",
}
_QUARTERS = np.array([0.25, 0.5, 0.75])
_COLORS = (style.BLUE, style.ORANGE, style.VERMILION)
_MARKERS = ("o", "s", "^")


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what `benchmarks/leads.py` wrote: medians over problems, and bands that hold half of them."""
    rows = read_frame(results / TABLE, "the table")
    with style.look():
        figure = Figure(figsize=(style.PAGE, 4.2), layout="constrained")
        panels = figure.subplots(len(_ROWS), len(_VARIED), sharex=True, sharey="row", squeeze=False)
        for column, (name, words) in enumerate(_VARIED.items()):
            for row, lead in enumerate(_ROWS):
                _panel(panels[row, column], rows[rows["varied"] == name], name, lead)
            panels[0, column].set_title(words, loc="left")
            panels[0, column].legend(loc="best")
            panels[-1, column].set_xlabel("ηT, in units of 1/‖H‖")
        for axes, words in zip(panels[:, 0], _ROWS.values(), strict=True):
            axes.set_ylabel(words)
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: pd.DataFrame, name: str, lead: str) -> None:
    looks: Sequence[tuple[str, str]] = list(zip(_COLORS, _MARKERS, strict=True))
    for (value, own), (color, marker) in zip(rows.groupby(name), looks, strict=False):
        quarters = own.groupby("way")[lead].quantile(_QUARTERS).unstack()
        axes.plot(quarters.index, quarters[0.5], marker=marker, markersize=3, color=color, label=f"{value:g}")
        axes.fill_between(
            quarters.index, quarters[0.25], quarters[0.75], color=color, alpha=0.12, linewidth=0
        )
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    style.logarithmic(axes, "x")
