"""Regret against evaluations, a row a kind of landscape, a column a number of datasets."""

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

NAME = "search_regret"
#: A strategy's colour, marker and name for people, in the order of the legend.
_LOOKS = {
    "model": (style.BLUE, "o", "model"),
    "greedy": (style.GREEN, "s", "greedy"),
    "genetic": (style.SKY, "P", "genetic (NSGA-II)"),
    "tpe": (style.ORANGE, "D", "TPE"),
    "predictor:lightgbm": (style.VERMILION, "^", "LightGBM rounds"),
    "random": (style.GREY, "v", "random"),
}
#: Per cent: a regret below it is drawn there, since a logarithmic axis has no zero.
_FLOOR = 0.05
#: Fewest seeds whose quantiles are drawn.
_FEWEST = 5
#: The band and the line.
_QUANTILES = np.array([0.1, 0.5, 0.9])


def draw(results: Sequence[Path], out: Path) -> list[Path]:
    """Draw what `benchmarks/search.py run` wrote: the median over seeds, and the band from 10 % to 90 %."""
    rows = pd.concat([read_frame(path, "the table") for path in results])
    rows["kind"] = rows["landscape"].str.split(":").str[0]
    kinds, sizes = list(dict.fromkeys(rows["kind"])), sorted(set(rows["n"]))
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.0 * len(kinds) + 0.4), layout="constrained")
        panels = figure.subplots(len(kinds), len(sizes), sharey=True, sharex="col", squeeze=False)
        for i, kind in enumerate(kinds):
            for j, n in enumerate(sizes):
                _panel(panels[i, j], rows[(rows["kind"] == kind) & (rows["n"] == n)])
                panels[i, j].set_title(f"{kind}, N = {n}", loc="left")
            panels[i, 0].set_ylabel("regret, %")
        for axes in panels[-1]:
            axes.set_xlabel("evaluations")
        # All panels draw the same strategies, but for the costly ones: the fullest one has the legend.
        handles, names = max(
            (axes.get_legend_handles_labels() for axes in panels.flat), key=lambda found: len(found[1])
        )
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for strategy, (color, marker, name) in _LOOKS.items():
        own = rows[rows["strategy"] == strategy]
        if own["seed"].nunique() < _FEWEST:
            continue
        quantiles = own.groupby("evaluations")["regret"].quantile(_QUANTILES).unstack()
        spread = (100 * quantiles).clip(lower=_FLOOR)
        axes.plot(spread.index, spread[0.5], marker=marker, markersize=3, color=color, label=name)
        axes.fill_between(spread.index, spread[0.1], spread[0.9], color=color, alpha=0.12, linewidth=0)
    style.logarithmic(axes, "y")
