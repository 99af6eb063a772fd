"""Merged against mixture-trained score of every mixture, one panel a target (as in arXiv 2505.16066)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
#: Most letters of a reason in a title.
_SAID = 40
#: Height of a line of text inside a panel, as a share of the panel.
_LINE = 0.075
#: Width of a letter inside a panel, and half that of a marker, as shares of the panel.
_LETTER, _MARKER = 0.0243, 0.05
_PICK: Look = {"marker": "D", "edgecolor": style.VERMILION, "label": "picked by merging", "s": 68}
_ORACLE: Look = {"marker": "s", "edgecolor": style.GREEN, "label": "oracle (best trained)", "s": 110}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw the scatter of what `m2m-analysis fidelity` wrote."""
    rows = [_typed(row) for row in read(results / POINTS)]
    correlations = json.loads((results / RESULT).read_text(encoding="utf-8"))["by"]
    targets = list(dict.fromkeys(row["target"] for row in rows))
    with style.look():
        figure, panels = _canvas(len(targets))
        for target, axes in zip(targets, panels, strict=True):
            _panel(axes, [row for row in rows if row["target"] == target], correlations[target])
        _legend(figure, panels)
        return style.save(figure, out / NAME)


def _typed(row: Mapping[str, str]) -> Point:
    typed: Point = dict(row)
    for name in ("merged", "trained"):
        typed[name] = number(row[name])
    for name in ("higher_is_better", "singleton", "pick", "oracle"):
        typed[name] = row[name] == "True"
    return typed


def _canvas(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` square panels, one column wide for one panel, else two columns."""
    across = 2 if count == 4 else min(count, _ACROSS)
    down = math.ceil(count / across)
    width = style.COLUMN if across == 1 else style.PAGE if across == _ACROSS else 1.5 * style.COLUMN
    figure = Figure(figsize=(width, width / across * 1.12 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count])


def _panel(axes: Axes, rows: Sequence[Point], fidelity: Mapping[str, Any]) -> None:
    drawn = [row for row in rows if math.isfinite(row["merged"]) and math.isfinite(row["trained"])]
    _frame(axes, drawn)
    for singleton, face in ((False, style.BLUE), (True, "white")):
        chosen = [row for row in drawn if row["singleton"] is singleton]
        label = "one dataset: the expert itself" if singleton else "two or more datasets"
        _dots(axes, chosen, s=22, facecolor=face, edgecolor=style.BLUE, linewidth=0.9, zorder=3, label=label)
    for role, mark in (("oracle", _ORACLE), ("pick", _PICK)):
        marked = [row for row in drawn if row[role]]
        _dots(axes, marked, facecolor="none", linewidth=1.4, zorder=4, **mark)
    _names(axes, drawn)
    axes.set_title(_title(str(rows[0]["target"]), fidelity), loc="left", linespacing=1.35)
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


def _names(axes: Axes, rows: Sequence[Point]) -> None:
    """Name pick and oracle in whichever corner off the diagonal has fewer points."""
    names = {role: next((row["mixture"] for row in rows if row[role]), None) for role in ("pick", "oracle")}
    if names["pick"] is None:
        return
    lines = [("picked and oracle", str(names["pick"]), style.VERMILION)]
    if names["pick"] != names["oracle"]:
        lines = [
            ("picked", str(names["pick"]), style.VERMILION),
            ("oracle", str(names["oracle"]), style.GREEN),
        ]
    longest = max(len(f"{role}: {_short(name)}") for role, name, _ in lines)
    reach = 0.03 + _LETTER * longest + _MARKER
    height = _LINE * len(lines)
    points = [_place(axes, row) for row in rows]
    below = sum(x > 1 - reach and y < height for x, y in points)
    above = sum(x < reach and y > 1 - height for x, y in points)
    x, y, align = (0.97, 0.04 + _LINE * (len(lines) - 1), "right") if below <= above else (0.03, 0.96, "left")
    for i, (role, name, color) in enumerate(lines):
        look: Look = {"color": color, "ha": align, "va": "center", "transform": axes.transAxes}
        axes.text(x, y - _LINE * i, f"{role}: {_short(name)}", fontsize=6.5, zorder=5, **look)


def _place(axes: Axes, row: Point) -> tuple[float, float]:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return (row["merged"] - left) / (right - left), (row["trained"] - bottom) / (top - bottom)


def _short(name: str, longest: int = 34) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _title(target: str, fidelity: Mapping[str, Any]) -> str:
    large, every = fidelity["mixtures"]["pearson"], fidelity["with_singletons"]["pearson"]
    lines = [_short(target), _correlation("r", large)]
    if large["low"] is not None:
        lines.append(f"interval for {large['about']}")
    if every["value"] is not None and every["n"] > large["n"]:
        lines.append(f"with single datasets {every['value']:.2f}, n = {every['n']}")
    return "\n".join(lines)


def _correlation(symbol: str, estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return f"{symbol} not defined: {_short(estimate.get('reason') or 'no reason', _SAID)}"
    if estimate["low"] is None:
        reason = _short(estimate.get("reason") or "none was made", _SAID)
        return f"{symbol} = {estimate['value']:.2f}, n = {estimate['n']}, no interval: {reason}"
    interval = f" [{estimate['low']:.2f}, {estimate['high']:.2f}]"
    return f"{symbol} = {estimate['value']:.2f}{interval}, n = {estimate['n']}"


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Put one legend of what occurs in any panel below all of them."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if not hasattr(handle, "get_offsets") or len(handle.get_offsets()):
                found.setdefault(label, handle)
    columns = {1: 2, 2: 3, 4: 3}.get(len(panels), 5)
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.0,
        handlelength=1.6,
    )
