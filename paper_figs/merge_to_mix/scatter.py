"""Merged against mixture-trained score of every mixture, one panel a target (as in arXiv 2505.16066)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.tables import number, read

#: A mixture on a target, its cells read.
Point = dict[str, Any]
Look = dict[str, Any]

POINTS, RESULT, NAME = "fidelity_points.csv", "fidelity.json", "fidelity_scatter"
#: Panels side by side at most.
_ACROSS = 3
#: Most dots that are drawn one by one in the SVG; more are one picture.
_VECTORS = 2000
#: Height of a line of a title, and of ticks, label and padding below and above a panel, in inches.
_LINE, _AROUND = 0.125, 0.5
_PICK: Look = {"marker": "D", "edgecolor": style.VERMILION, "label": "picked by merging", "s": 68}
_ORACLE: Look = {"marker": "s", "edgecolor": style.GREEN, "label": "oracle (best trained)", "s": 110}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the scatter of what `m2m-analysis fidelity` wrote."""
    points: dict[str, list[Point]] = {}
    for row in read(results / POINTS):
        points.setdefault(row["target"], []).append(_typed(row))
    correlations = json.loads((results / RESULT).read_text(encoding="utf-8"))["by"]
    across = 2 if len(points) == 4 else min(len(points), _ACROSS)
    width = {1: style.COLUMN, 2: 1.5 * style.COLUMN}.get(across, style.PAGE)
    side = style.panel_width(width, across)
    with style.look():
        titles = {name: _title(name, correlations[name], rows, side) for name, rows in points.items()}
        tallest = max(title.count("\n") + 1 for title in titles.values())
        height = side + _LINE * tallest + _AROUND
        figure, panels = _canvas(len(points), across, width, height)
        for (target, rows), axes in zip(points.items(), panels, strict=True):
            _panel(axes, rows)
            axes.set_title(titles[target], loc="left", linespacing=1.35)
        legend = style.legend(figure, style.entries(panels))
        figure.set_figheight(figure.get_figheight() + legend)
        return style.save(figure, out / NAME)


def _typed(row: Mapping[str, str]) -> Point:
    typed: Point = dict(row)
    for name in ("merged", "trained"):
        typed[name] = number(row[name])
    for name in ("higher_is_better", "singleton", "pick", "oracle"):
        typed[name] = row[name] == "True"
    return typed


def _canvas(count: int, across: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` square panels, `height` inches for each row of them."""
    down = math.ceil(count / across)
    figure = Figure(figsize=(width, height * down + 0.2), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count])


def _panel(axes: Axes, rows: Sequence[Point]) -> None:
    drawn = [row for row in rows if math.isfinite(row["merged"]) and math.isfinite(row["trained"])]
    _frame(axes, drawn)
    for singleton, face in ((False, style.BLUE), (True, "white")):
        chosen = [row for row in drawn if row["singleton"] is singleton]
        label = "one dataset: the expert itself" if singleton else "two or more datasets"
        _dots(axes, chosen, s=22, facecolor=face, edgecolor=style.BLUE, linewidth=0.9, zorder=3, label=label)
    for role, mark in (("oracle", _ORACLE), ("pick", _PICK)):
        marked = [row for row in drawn if row[role]]
        _dots(axes, marked, facecolor="none", linewidth=1.4, zorder=4, **mark)
    if len(drawn) < len(rows):
        said = f"{len(rows) - len(drawn)} of {len(rows)} mixtures are not drawn:\na score is not finite"
        axes.text(0.5, 0.5, said, ha="center", va="center", transform=axes.transAxes, fontsize=6.5)
    axes.set_xlabel(f"merged model: {rows[0]['metric']}")
    place = axes.get_subplotspec()
    if place is not None and place.is_first_col():
        direction = "higher is better" if rows[0]["higher_is_better"] else "lower is better"
        axes.set_ylabel(f"trained on the mixture: {rows[0]['metric']}\n({direction})")


def _dots(axes: Axes, rows: Sequence[Point], **look: Any) -> None:
    columns = ([row[name] for row in rows] for name in ("merged", "trained"))
    axes.scatter(*columns, rasterized=len(rows) > _VECTORS, **look)


def _frame(axes: Axes, rows: Sequence[Point]) -> None:
    """Give both axes the same limits, so that y = x is the diagonal."""
    values = [row[name] for row in rows for name in ("merged", "trained")] or [0.0, 1.0]
    # Scores that differ by rounding alone are drawn as equal: no axis resolves an ulp.
    margin = max(0.07 * (max(values) - min(values)), 1e-9 * max(map(abs, values))) or 0.5
    limits = (min(values) - margin, max(values) + margin)
    axes.set(xlim=limits, ylim=limits, box_aspect=1)
    axes.locator_params(nbins=5)
    style.identity(axes, limits[0], label="y = x")


def _title(target: str, fidelity: Mapping[str, Any], rows: Sequence[Point], inches: float) -> str:
    """Say above a panel what was found, and name pick and oracle: inside they would lie over points."""
    large, every = fidelity["mixtures"]["pearson"], fidelity["with_singletons"]["pearson"]
    lines = [target, *_correlation("r", large)]
    if every["value"] is not None and every["n"] > large["n"]:
        lines.append(f"with single datasets {every['value']:.2f}, n = {every['n']}")
    size = float(mpl.rcParams["axes.titlesize"])
    return "\n".join(style.shortened(line, inches, size) for line in [*lines, *_choices(rows)])


def _correlation(symbol: str, estimate: Mapping[str, Any]) -> list[str]:
    if estimate["value"] is None:
        return [f"{symbol} is not defined:", estimate.get("reason") or "no reason"]
    value, n = f"{symbol} = {estimate['value']:.2f}", f"n = {estimate['n']}"
    if estimate["low"] is None:
        return [f"{value}, {n}, no interval"]
    interval = f"[{estimate['low']:.2f}, {estimate['high']:.2f}]"
    return [f"{value} {interval}, {n}", f"interval for {estimate['about']}"]


def _choices(rows: Sequence[Point]) -> list[str]:
    names = {role: next((row["mixture"] for row in rows if row[role]), None) for role in ("pick", "oracle")}
    if names["pick"] is None:
        return []
    if names["pick"] == names["oracle"]:
        return [f"picked and oracle: {names['pick']}"]
    return [f"picked: {names['pick']}", f"oracle: {names['oracle']}"]
