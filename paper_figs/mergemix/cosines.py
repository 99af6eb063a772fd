"""Cosines of task vectors: of the whole model, and layer by layer (as figure 7b of arXiv 2601.17858)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read, reasons

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS, EXPERTS, NAME = "orthogonality.csv", "orthogonality_experts.csv", "orthogonality_cosines"
#: With more pairs than this, lines of single pairs are not told apart.
_MOST_LINES = 6


def draw(results: Path, out: Path) -> list[Path]:
    """Draw what `m2m-analysis orthogonality` wrote."""
    pairs, experts = read(results / PAIRS), read(results / EXPERTS)
    names = [row["expert"] for row in experts if row["level"] == "whole"]
    with style.look():
        figure = Figure(figsize=(style.PAGE, style.PAGE * 0.42), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
        _matrix(left, names, [row for row in pairs if row["level"] == "whole"])
        _layers(right, [row for row in pairs if row["level"] == "layer"])
        style.footnote(figure, reasons(pairs, "cosine", "chance_spread"))
        return style.save(figure, out / NAME)


def _matrix(axes: Axes, names: list[str], rows: list[dict[str, str]]) -> None:
    values = {(row["a"], row["b"]): number(row["cosine"]) for row in rows}
    matrix = [
        [1.0 if i == j else values.get((i, j), values.get((j, i), math.nan)) for j in names] for i in names
    ]
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    size = 7 if len(names) <= 6 else 4
    style.label_cells(axes, matrix, names, lambda value: abs(value) > 0.6, fontsize=size)
    axes.set_title("whole model")
    axes.figure.colorbar(image, ax=axes, label="cosine of task vectors", shrink=0.85)


def _layers(axes: Axes, rows: list[dict[str, str]]) -> None:
    groups = list(dict.fromkeys(row["group"] for row in rows))
    pairs = list(dict.fromkeys((row["a"], row["b"]) for row in rows))
    values = {(row["group"], row["a"], row["b"]): number(row["cosine"]) for row in rows}
    chance = {row["group"]: 2 * number(row["chance_spread"]) for row in rows if row["chance_spread"]}
    if chance:
        spread = [chance.get(group, math.nan) for group in groups]
        axes.fill_between(
            range(len(groups)),
            [-value for value in spread],
            spread,
            color="#DDDDDD",
            linewidth=0,
            label="chance, two deviations",
        )
    few = len(pairs) <= _MOST_LINES
    for k, pair in enumerate(pairs):
        line = [values[(group, *pair)] for group in groups]
        colour = style.colour(k) if few else style.GREY
        marker = style.mark(k) if few else "o"
        label = " · ".join(pair) if few else None
        axes.plot(range(len(groups)), line, marker=marker, markersize=3, color=colour, label=label)
    axes.axhline(0, color="black", linewidth=0.6)
    step = max(1, len(groups) // 16)
    axes.set_xticks(range(0, len(groups), step), groups[::step], rotation=30, ha="right")
    axes.set_ylabel("cosine of task vectors")
    axes.set_title("layer by layer" if few else f"layer by layer, {len(pairs)} pairs")
    if pairs:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
