"""Predicted utilities over the simplex of four datasets (as figure 8 of arXiv 2601.17858)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.set_up import EXPERIMENT, NEEDS, found, utilities
from paper_figs.part import Part
from paper_figs.tables import Row, number, read

NAME = "mergemix_simplex"
#: Share of the ratios that is shown in colour, as in the paper.
_TOP = 0.15
#: A tetrahedron seen from the side, the last corner up: where each dataset alone lies.
_CORNERS = ((0.0, 0.0), (1.0, 0.1), (0.6, -0.36), (0.52, 0.85))


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the best ratios of each utility; nothing unless there are four datasets."""
    content, rows = found(results), read(results / EXPERIMENT / "result_map.csv")
    names, datasets = utilities(content), content["datasets"]
    if len(datasets) != len(_CORNERS):
        style.remove(out / NAME)
        return []
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.5), layout="constrained")
        grid = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(grid, names, strict=True):
            _panel(axes, rows, datasets, name)
        color = grid[-1].collections[-2]
        figure.colorbar(color, ax=list(grid), label="rank within the top 15 %", shrink=0.7, ticks=[])
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: Sequence[Row], datasets: Sequence[str], name: str) -> None:
    worst_first = sorted(rows, key=lambda row: number(row[name]))
    top = worst_first[-math.ceil(_TOP * len(rows)) :]
    for one in range(len(_CORNERS)):
        for other in range(one):
            axes.plot(*zip(_CORNERS[one], _CORNERS[other], strict=True), color=style.GREY, linewidth=0.6)
    ranks = range(len(top))
    axes.scatter(*_places(top, datasets), c=ranks, cmap="cividis", s=9, linewidth=0, zorder=2)
    best = _places(top[-1:], datasets)
    axes.scatter(*best, marker="*", s=70, facecolor="white", edgecolor="black", linewidth=0.8, zorder=3)
    for dataset, (x, y) in zip(datasets, _CORNERS, strict=True):
        # Outwards, where no edge is.
        away: tuple[float, float] = (0, 4) if y > 0.5 else (0, -5)
        side = "bottom" if y > 0.5 else "top"
        axes.annotate(dataset, (x, y), away, textcoords="offset points", fontsize=6, ha="center", va=side)
    shares = [f"{number(top[-1][f'share of {dataset}']):.2f}" for dataset in datasets]
    axes.set_title(f"{name}\nbest: {' / '.join(shares)}", loc="left")
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.margins(0.16)


def _places(rows: Sequence[Row], datasets: Sequence[str]) -> tuple[list[float], list[float]]:
    weights = [[number(row[f"share of {dataset}"]) for dataset in datasets] for row in rows]
    x, y = (
        [sum(w * corner[axis] for w, corner in zip(row, _CORNERS, strict=True)) for row in weights]
        for axis in (0, 1)
    )
    return x, y


def _caption(results: Path) -> str:
    content = found(results)
    return (
        "The best 15 % of all ratios in steps of 1/16 by the fitted surfaces (Gaussian processes, fitted to "
        f"{content['sizes']['starting_mixtures']} merged models; held-out Spearman of the overall utility is "
        f"{content['search']['spearman']:.3f}). Each corner of the tetrahedron is a dataset; brighter is "
        f"better, and the star is the best, with its shares of {' / '.join(content['datasets'])}. The paper "
        "shows six such maps: code's best near code alone, mathematics' inside."
    )


PART = Part("Landscapes over the simplex (figure 8)", NEEDS, _caption, draw=draw)
