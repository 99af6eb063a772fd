"""Merged against trained scores of all mixtures, a set-up's targets in one panel (arXiv 2505.16066)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.merge_to_mix.set_ups import NEEDS, SetUp, differences, found
from paper_figs.part import Part
from paper_figs.tables import Row, estimate, number, read

NAME = "merge_to_mix_correlation"
#: Inches that a panel's title, ticks, label and legend take, and where below it the legend begins.
_AROUND, _BELOW = 1.75, 0.42


def draw(results: Path, out: Path) -> list[Path]:
    """Draw a panel a set-up: every mixture on every target, less the target's mean."""
    panels = list(found(results))
    with style.look():
        width = style.COLUMN if len(panels) == 1 else style.PAGE
        side = style.panel_width(width, len(panels))
        figure = Figure(figsize=(width, side + _AROUND), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (one, content) in zip(grid, panels, strict=True):
            _panel(axes, results / one.experiment, _BELOW / side)
            axes.set_title(_title(results, one, content), loc="left", linespacing=1.35)
        grid[0].set_ylabel("trained, less the target's mean")
        return style.save(figure, out / NAME)


def _panel(axes: Axes, folder: Path, below: float) -> None:
    rows = read(folder / "result_points.csv")
    targets = list(dict.fromkeys(row["target"] for row in rows))
    for at, target in enumerate(targets):
        own = [row for row in rows if row["target"] == target]
        look: dict[str, Any] = {
            "marker": style.mark(at),
            "edgecolor": style.colour(at),
            "linewidth": 0.7,
            "s": 13,
        }
        mixed = [row for row in own if row["singleton"] == "False"]
        axes.scatter(*_columns(mixed), facecolor=look["edgecolor"], alpha=0.6, label=target, **look)
        axes.scatter(*_columns([row for row in own if row["singleton"] == "True"]), facecolor="none", **look)
    style.identity(axes, 0.0)
    axes.set_box_aspect(1)
    axes.locator_params(nbins=5)
    axes.set_xlabel("merged, less the target's mean")
    place: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, -below), "ncols": 3}
    axes.legend(fontsize=6, handletextpad=0.1, columnspacing=0.6, labelspacing=0.2, **place)


def _columns(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [number(row["merged"]) for row in rows], [number(row["trained"]) for row in rows]


def _title(results: Path, one: SetUp, content: dict[str, Any]) -> str:
    fidelity = json.loads((results / one.experiment / "fidelity.json").read_text(encoding="utf-8"))
    r = fidelity["mixtures"]["pearson"]
    return "\n".join(
        [
            f"{content['about']['title']}: {metric(content)}",
            f"r = {estimate(r)}, n = {r['n']}",
            f"with single datasets r = {estimate(fidelity['with_singletons']['pearson'])}",
            f"the paper, {one.modality}: r = {one.printed_r:.2f}",
        ]
    )


def metric(content: dict[str, Any]) -> str:
    """Name the metric of a set-up's targets and its direction."""
    names = {
        f"{target['metric']}, {'higher' if target['higher_is_better'] else 'lower'} is better"
        for target in content["choice"]["targets"].values()
    }
    return "; ".join(sorted(names))


def _caption(results: Path) -> str:
    return (
        "Every mixture on every target, validation scores: filled, mixtures of two or more datasets; open, "
        "single datasets, whose merged model is the trained one. Each target's scores are less their means "
        "over mixtures of two or more; dashed, a slope of one. r is over mixtures of two or more, pooled "
        "within targets, n mixtures × targets; its interval is for these mixtures, trained with other "
        "seeds and tested on other examples, and "
        f"needs two trained seeds.\n\n{differences(results)}"
    )


PART = Part("Merged against trained, all targets", NEEDS, _caption, draw=draw)
