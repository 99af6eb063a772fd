"""What `m2m mix` found: utility predicted and measured, and λ* with what resamples would have chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import Row, number, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, RESULT, NAME = "candidates.csv", "mix.json", "mix"
#: What the surfaces propose; everything else is a seed.
_PROPOSED = {"argmax": ("argmax", "*", 70), "top": ("mean of the top", "D", 20)}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw predicted beside measured utilities, and the shares, of what `m2m mix` wrote."""
    content = json.loads((results / RESULT).read_text(encoding="utf-8"))
    rows = read(results / TABLE)
    height = max(2.4, 0.6 + 0.28 * len(content["datasets"]))
    with style.look():
        figure = Figure(figsize=(style.PAGE, height), layout="constrained")
        left, right = figure.subplots(1, 2)
        _scatter(left, rows, content)
        _shares(right, content)
        return style.save(figure, out / NAME)


def _scatter(axes: Axes, rows: list[Row], content: dict[str, Any]) -> None:
    starts = [row for row in rows if row["kind"] not in _PROPOSED]
    predicted, measured = ([number(row[key]) for row in starts] for key in ("utility predicted", "utility"))
    axes.scatter(predicted, measured, s=16, facecolor=style.SKY, label="starting mixtures, held out")
    for kind, (label, marker, size) in _PROPOSED.items():
        [row] = [row for row in rows if row["kind"] == kind]
        place = ([number(row["utility predicted"])], [number(row["utility"])])
        color = style.VERMILION if kind == "argmax" else style.GREEN
        axes.scatter(*place, s=size, marker=marker, color=color, label=label, zorder=3)
    style.identity(axes, 0)
    axes.set_xlabel("utility predicted")
    axes.set_ylabel("utility of the merged model")
    names = ", ".join(content["targets"])
    axes.set_title(f"{names}: held-out Spearman {content['spearman']:.3f}", loc="left")
    axes.legend()


def _shares(axes: Axes, content: dict[str, Any]) -> None:
    names, weights, found = content["datasets"], content["weights"], content["uncertainty"]
    rows = list(range(len(names), 0, -1))
    if found is not None:
        low, high = ([found[end][name] for name in names] for end in ("low", "high"))
        axes.hlines(rows, low, high, color=style.BLUE, linewidth=2.5, alpha=0.45, label="95 % of resamples")
    axes.scatter([weights[name] for name in names], rows, s=24, color=style.VERMILION, label="λ*", zorder=3)
    axes.axvline(1 / len(names), color=style.GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    axes.set_yticks(rows, names)
    axes.set_ylim(0.4, len(names) + 0.6)
    axes.set_xlim(left=-0.02)
    axes.set_xlabel("share (dashed: equal shares)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
