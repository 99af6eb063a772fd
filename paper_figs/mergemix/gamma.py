"""Relative effective curvature γ_kj as a matrix (as figure 7a of arXiv 2601.17858)."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read, reasons

TABLE, NAME = "curvature.csv", "curvature_gamma"


def draw(results: Path, out: Path) -> list[Path]:
    """Draw γ of what `m2m-analysis curvature` wrote."""
    rows = read(results / TABLE)
    names = list(dict.fromkeys(row["hessian"] for row in rows))
    values = {(row["hessian"], row["direction"]): number(row["gamma"]) for row in rows}
    matrix = [[values[k, j] for j in names] for k in names]
    with style.look():
        figure = Figure(figsize=(style.COLUMN, style.COLUMN * 0.86), layout="constrained")
        axes = figure.subplots()
        largest = max((value for row in matrix for value in row if math.isfinite(value)), default=1.0)
        image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=largest)
        style.label_cells(axes, matrix, names, lambda value: value < 0.55 * largest, fontsize=7)
        axes.set_xlabel("gradient direction of domain j")
        axes.set_ylabel("curvature of domain k")
        style.footnote(figure, reasons(rows, "gamma"))
        figure.colorbar(image, ax=axes, label="γ (1 on the diagonal)", shrink=0.85)
        return style.save(figure, out / NAME)
