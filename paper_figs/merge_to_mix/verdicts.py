"""Every measured claim: its interval beside its threshold, coloured by verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figs import style
from paper_figs.tables import number, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, NAME = "verdicts.csv", "verdicts"
_COLOURS = {"holds": style.GREEN, "fails": style.VERMILION, "unresolved": style.GREY}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what `m2m-analysis validate` wrote."""
    # Each interval is drawn from its threshold, in units of its farther end from there, the claimed side to
    # the right: quantities of different units share one axis.
    found = read(results / TABLE)
    rows = [row for row in found if row["low"] and row["high"]]
    without = len(found) - len(rows)
    with style.look():
        height = max(1.2, 0.24 * len(rows) + 0.8)
        figure = Figure(figsize=(style.PAGE, height), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(reversed(rows)):
            _interval(axes, place, row)
        labels = [f"{row['name'].replace('_', ' ')} · {row['run']}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), labels)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(-1.1, 1.1)
        axes.set_xticks([-1, 0, 1], ["against the claim", "threshold", "for the claim"])
        handles = [Line2D([], [], marker="o", color=colour, label=name) for name, colour in _COLOURS.items()]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1))
        if without:
            said = "their reasons stand in verdicts.csv and verdicts.md"
            style.footnote(figure, [f"{without} of {len(found)} claims have no interval: {said}"])
        return style.save(figure, out / NAME)


def _interval(axes: Axes, place: int, row: dict[str, str]) -> None:
    sign = 1 if row["side"] == "above" else -1
    threshold = number(row["threshold"])
    low, value, high = (sign * (number(row[key]) - threshold) for key in ("low", "value", "high"))
    scale = max(abs(low), abs(high), abs(value)) or 1.0
    colour = _COLOURS[row["outcome"]]
    axes.plot([low / scale, high / scale], [place, place], color=colour, linewidth=2)
    axes.plot([value / scale], [place], marker="o", markersize=4, color=colour)
