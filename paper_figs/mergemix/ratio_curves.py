"""Scores along the line between two datasets, merged and trained (as figure 3 of arXiv 2601.17858)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.set_up import EXPERIMENT, NEEDS, differences, found, scale, utilities
from paper_figs.part import Part
from paper_figs.tables import Row, number, read

NAME = "mergemix_curves"
_SIDES: dict[str, dict[str, Any]] = {
    "merged": {"color": style.VERMILION, "marker": "D", "linestyle": "-"},
    "trained": {"color": style.BLUE, "marker": "o", "linestyle": (0, (4, 2))},
}


def draw(results: Path, out: Path) -> list[Path]:
    """Draw both curves of each utility."""
    content, rows = found(results), read(results / EXPERIMENT / "result_line.csv")
    names = utilities(content)
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.5), layout="constrained")
        grid = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(grid, names, strict=True):
            _panel(axes, [row for row in rows if row["utility"] == name])
            axes.set_title(name, loc="left")
        grid[0].set_ylabel("utility")
        figure.supxlabel(f"share of {content['ends'][0]}; the rest is {content['ends'][1]}", fontsize=8)
        style.legend(figure, style.entries(grid), "outside upper center")
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    for side, look in _SIDES.items():
        own = [row for row in rows if row["side"] == side]
        share, value, low, high = (
            [number(row[key]) for row in own] for key in ("share", "value", "low", "high")
        )
        label = {"merged": "merged at α", "trained": "trained at λ"}[side]
        axes.plot(share, value, label=label, markersize=3, **look)
        axes.fill_between(share, low, high, color=look["color"], alpha=0.18, linewidth=0)
    axes.set_xticks([0.1, 0.5, 0.9])
    axes.locator_params(axis="y", nbins=5)


def _caption(results: Path) -> str:
    return (
        f"Nine ratios of two datasets, α = λ; mean of {found(results)['sizes']['fresh_seeds']} seeds of "
        "experts and of trainings, bands are Student's 95 % intervals over seeds; validation. "
        f"{scale()} The paper has mathematics and code, 25B tokens, one training each.\n\n"
        f"{differences(results)}"
    )


PART = Part("Curves over α and λ (figure 3)", NEEDS, _caption, draw=draw)
