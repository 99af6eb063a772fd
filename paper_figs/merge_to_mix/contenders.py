"""What each mixture's trained score may be, over its merged score, and which may be the best."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import Row, number, read

Look = dict[str, Any]

TABLE, RESULT, NAME = "trust.csv", "trust.json", "trust"
_ACROSS = 3
#: Contenders that are named at most, and the chance from which one is.
_NAMED, _CHANCE = 3, 0.1


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the belief that `m2m-analysis trust` wrote: a panel a target."""
    rows = read(results / TABLE)
    content = json.loads((results / RESULT).read_text(encoding="utf-8"))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    across = min(len(targets), _ACROSS)
    down = math.ceil(len(targets) / across)
    with style.look():
        width = style.COLUMN if across == 1 else style.PAGE
        figure = Figure(figsize=(width, (width / across + 0.4) * down + 0.2), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for spare in panels[len(targets) :]:
            spare.remove()
        for target, axes in zip(targets, panels, strict=False):
            of_target = [row for row in rows if row["target"] == target]
            _panel(axes, of_target)
            title = _title(target, content, of_target, style.panel_width(width, across))
            axes.set_title(title, loc="left", linespacing=1.35)
        legend = style.legend(figure, style.entries(panels[: len(targets)]))
        figure.set_figheight(figure.get_figheight() + legend)
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    trained = [row for row in rows if row["trained"]]
    waiting = [row for row in rows if not row["trained"]]
    look: Look
    if waiting:
        x, mean, low, high = (_column(waiting, name) for name in ("merged", "mean", "low", "high"))
        reach = [
            [max(m - a, 0) for m, a in zip(mean, low, strict=True)],
            [max(b - m, 0) for m, b in zip(mean, high, strict=True)],
        ]
        look = {"fmt": "o", "markersize": 2.5, "elinewidth": 0.6, "color": style.SKY, "zorder": 2}
        axes.errorbar(x, mean, yerr=reach, label="not trained: mean and 95 %", **look)
    for single, face in ((False, style.BLUE), (True, "white")):
        kind = [row for row in trained if (row["status"] == "expert") is single]
        label = "one dataset: the expert itself" if single else "trained"
        columns = _column(kind, "merged"), _column(kind, "trained")
        look = {"s": 20, "facecolor": face, "edgecolor": style.BLUE, "linewidth": 0.9, "zorder": 3}
        axes.scatter(*columns, label=label, **look)
    picked = [row for row in rows if row["picked"] == "True"]
    at = _column(picked, "merged"), _column(picked, "mean")
    look = {"marker": "D", "s": 60, "facecolor": "none", "edgecolor": style.VERMILION, "zorder": 4}
    axes.scatter(*at, linewidth=1.4, label="pick", **look)
    style.identity(axes, number(rows[0]["merged"]), label="y = x")
    axes.margins(0.07)
    axes.set_xlabel(f"merged model: {rows[0]['metric']}")
    axes.locator_params(nbins=5)
    place = axes.get_subplotspec()
    if place is not None and place.is_first_col():
        better = "higher" if rows[0]["higher_is_better"] == "True" else "lower"
        axes.set_ylabel(f"trained on the mixture\n({better} is better)")


def _title(target: str, content: Mapping[str, Any], rows: Sequence[Row], inches: float) -> str:
    """Say above a panel how good the pick is, and which mixtures may be the best."""
    found, tolerance = content["by"][target], content["tolerance"]
    likely = sorted(rows, key=lambda row: -number(row["best"]))[:_NAMED]
    chances = [(number(row["best"]), row["candidate"]) for row in likely]
    named = [f"best with {chance:.0%}: {name}" for chance, name in chances if chance >= _CHANCE]
    within = f"pick within {tolerance:.0%} of the best:"
    lines = [target, within, f"probability {style.shown(found['enough'], '.2f')}", *named]
    size = float(mpl.rcParams["axes.titlesize"])
    return "\n".join(style.shortened(line, inches, size) for line in lines)


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [number(row[name]) for row in rows]
