"""Spectral density of each dataset's curvature at the base."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, RESULT, NAME = "curvature_density.csv", "curvature.json", "curvature_density"
_COLUMNS = 4


def draw(results: Path, out: Path) -> list[Path]:
    """Draw a panel a dataset of what `m2m-analysis curvature --spectra` wrote."""
    rows = read(results / TABLE)
    content = json.loads((results / RESULT).read_text(encoding="utf-8"))
    spectra: dict[str, Any] = content["spectra"]
    columns = min(_COLUMNS, len(spectra))
    lines = math.ceil(len(spectra) / columns)
    with style.look():
        figure = Figure(figsize=(style.PAGE, 0.5 + 1.5 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
        for axes, (name, found) in zip(panels, spectra.items(), strict=False):
            curve = [row for row in rows if row["dataset"] == name]
            x, y = ([number(row[column]) for row in curve] for column in ("eigenvalue", "density"))
            _panel(axes, x, y, found["eigenvalues"])
            trace = found["trace"]["hutch_plus_plus" if content["matrix"] == "ggn" else "hutchinson"]
            axes.set_title(f"{name}: trace {trace['value']:.0f} ± {trace['standard_error']:.0f}", loc="left")
        for axes in panels[len(spectra) :]:
            axes.set_visible(False)
        _cut_off(panels[0], spectra)
        matrix = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}[content["matrix"]]
        figure.supxlabel(f"eigenvalue of the {matrix} at the base (ticks: the outermost)", fontsize=8)
        figure.supylabel("density", fontsize=8)
        return style.save(figure, out / NAME)


def _panel(axes: Axes, x: list[float], y: list[float], ends: list[float]) -> None:
    axes.fill_between(x, y, 0, color=style.SKY, alpha=0.4, linewidth=0)
    axes.plot(x, y, color=style.BLUE)
    axes.plot(ends, [0.02] * len(ends), "|", color=style.VERMILION, transform=axes.get_xaxis_transform())


def _cut_off(axes: Axes, spectra: dict[str, Any]) -> None:
    """Show down to a tenth of what a single eigenvalue looks like in the flattest panel."""
    widest = max(found["density"]["resolution"] for found in spectra.values())
    size = max(found["density"]["size"] for found in spectra.values())
    axes.set_yscale("log")
    if widest > 0:
        axes.set_ylim(bottom=0.1 / (size * widest * math.sqrt(2 * math.pi)))
    style.logarithmic(axes, "y")
