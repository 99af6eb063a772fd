"""Predicted fidelity of every target, and the true one beside it where mixtures were trained."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read, reasons

TABLE, NAME = "outlook.csv", "outlook"
#: Most inches that a target's name takes.
_NAMES = 1.2


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what `m2m-analysis outlook` wrote."""
    rows = read(results / TABLE)
    places = range(len(rows))
    with style.look():
        figure = Figure(figsize=(style.COLUMN, 0.3 * len(rows) + 1.4), layout="constrained")
        axes = figure.subplots()
        predicted, true = ([number(row[key]) for row in rows] for key in ("predicted", "true"))
        axes.plot(predicted, places, "o", color=style.BLUE, markersize=5, label="predicted, nothing trained")
        axes.plot(true, places, "D", color=style.VERMILION, markersize=4, fillstyle="none", label="true")
        size = float(mpl.rcParams["ytick.labelsize"])
        names = [style.shortened(row["target"], _NAMES, size) for row in rows]
        axes.set_yticks(places, [f"{name}\n{row['verdict']}" for name, row in zip(names, rows, strict=True)])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.08)
        axes.set_xlabel("Pearson r of losses,\nmerged against trained")
        style.legend(figure, style.entries([axes]), "outside upper center")
        unknown = [f"{name}: {row['reason']}" for name, row in zip(names, rows, strict=True) if row["reason"]]
        style.footnote(figure, unknown + reasons(rows, "true"))
        return style.save(figure, out / NAME)
