"""Predicted fidelity of every target, and the true one beside it where mixtures were trained."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read, reasons

TABLE, NAME = "outlook.csv", "outlook"


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what `m2m-analysis outlook` wrote."""
    rows = read(results / TABLE)
    places = range(len(rows))
    with style.look():
        figure = Figure(figsize=(style.COLUMN, 0.22 * len(rows) + 1.2), layout="constrained")
        axes = figure.subplots()
        predicted, true = ([number(row[key]) for row in rows] for key in ("predicted", "true"))
        axes.plot(predicted, places, "o", color=style.BLUE, markersize=5, label="predicted, nothing trained")
        axes.plot(true, places, "D", color=style.VERMILION, markersize=4, fillstyle="none", label="true")
        axes.set_yticks(places, [f"{row['target']}: {row['verdict']}" for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("Pearson r, merged against trained, losses")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
        style.footnote(figure, reasons(rows, "true"))
        return style.save(figure, out / NAME)
