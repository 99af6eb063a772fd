"""Measured residual of every mixture beside its second-order prediction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.style import logarithmic
from paper_figs.tables import Row, number, read, reasons

TABLE, RESULT, NAME = "interaction.csv", "interaction.json", "interaction_residual"
#: Column to name and color of the norms.
_NORMS = {
    "measured": ("measured Δ", style.BLUE),
    "predicted": ("predicted to second order", style.VERMILION),
    "self_scaling": ("self-domain part", style.ORANGE),
    "interference": ("cross-domain part", style.GREEN),
    "seed_distance": ("distance between seeds", style.GREY),
}


#: Column to name, color and marker of the ratios.
_SHARES = {
    "cosine": ("cosine of measured and predicted", style.VERMILION, "o"),
    "relative": ("measured / travel", style.BLUE, "o"),
    "corrected": ("left by the Scheffé correction", style.SKY, "D"),
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw norms and cosines of what `m2m-analysis interaction` wrote."""
    rows = read(results / TABLE)
    outside = json.loads((results / RESULT).read_text(encoding="utf-8"))["outside_theory"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, 1.3 + 0.2 * len(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        _norms(left, rows)
        _shares(right, rows)
        left.set_yticks(range(len(rows)), [row["mixture"] for row in rows])
        left.invert_yaxis()
        if outside:
            left.set_title(f"outside the theory: {'; '.join(outside)}", loc="left")
        figure.legend(loc="outside lower center", ncols=3)
        style.footnote(figure, reasons(rows, *_NORMS, *_SHARES))
        return style.save(figure, out / NAME)


def _norms(axes: Axes, rows: Sequence[Row]) -> None:
    for column, (label, color) in _NORMS.items():
        axes.scatter([number(row[column]) for row in rows], range(len(rows)), s=16, color=color, label=label)
    logarithmic(axes, "x")
    axes.set_xlabel("Euclidean norm")


def _shares(axes: Axes, rows: Sequence[Row]) -> None:
    for column, (label, color, marker) in _SHARES.items():
        values = [number(row[column]) for row in rows]
        axes.scatter(
            values, range(len(rows)), s=16, color=color, marker=marker, facecolor="none", label=label
        )
    axes.axvline(0, color=style.GREY, linewidth=0.8)
    axes.set_xlabel("ratio")
