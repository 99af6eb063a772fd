"""Residual, prediction and estimated bound against step size and horizon, and under the run's optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.style import logarithmic
from paper_figs.tables import Row, number, read, reasons

TABLE, NAME = "error_bound.csv", "error_bound"
#: Column to name, color and line style.
_LINES = {
    "estimated_bound": ("estimated bound", style.VERMILION, "-"),
    "predicted": ("second order", style.ORANGE, "--"),
    "measured": ("measured ‖Δ‖", style.BLUE, "-"),
    "travel": ("distance travelled", style.GREY, ":"),
}
_PANELS = {
    "rate": ("sharp_steps", "η‖H‖"),
    "horizon": ("steps", "steps T"),
    "own": ("learning_rate", "learning rate"),
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the three sweeps of what `m2m-analysis error-bound` wrote."""
    rows = read(results / TABLE)
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.7), layout="constrained")
        for axes, (sweep, (column, label)) in zip(figure.subplots(1, 3), _PANELS.items(), strict=True):
            chosen = [row for row in rows if row["sweep"] == sweep]
            _panel(axes, chosen, column)
            axes.set_xlabel(label)
            axes.set_title(_title(chosen[0], sweep), loc="left")
        figure.axes[0].set_ylabel("Euclidean norm")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        style.footnote(figure, reasons(rows, "estimated_bound"))
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: Sequence[Row], column: str) -> None:
    bounded = any(row["estimated_bound"] for row in rows)
    for name, (label, color, line) in _LINES.items():
        if bounded or name in ("measured", "travel"):
            x, y = ([number(row[key]) for row in rows] for key in (column, name))
            axes.plot(x, y, line, color=color, marker="o", markersize=3, label=label)
    logarithmic(axes, "x", "y")


def _title(row: Row, sweep: str) -> str:
    if sweep == "horizon":
        return f"gradient descent, η‖H‖ = {number(row['sharp_steps']):.3g}"
    name = "gradient descent" if sweep == "rate" else f"{row['optimizer']}: no bound"
    return f"{name}, T = {row['steps']}"
