"""Ranks of mixtures by merged and by really trained models (as figure 2 of arXiv 2601.17858)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style
from paper_figs.mergemix.set_up import EXPERIMENT, NEEDS, differences, found, utilities
from paper_figs.part import Part
from paper_figs.tables import Row, estimate, number, read

NAME = "mergemix_ranks"


def draw(results: Path, out: Path) -> list[Path]:
    """Draw ranks of all drawn ratios, a panel a utility."""
    content, rows = found(results), read(results / EXPERIMENT / "result_drawn.csv")
    names = utilities(content)
    with style.look():
        width = style.panel_width(style.PAGE, len(names))
        figure = Figure(figsize=(style.PAGE, width + 0.9), layout="constrained")
        grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(grid, names, strict=True):
            _panel(axes, [row for row in rows if row["utility"] == name])
            rho = content["fidelity"][name]["spearman"]["merged"]
            axes.set_title(f"{name}: ρ = {estimate(rho)}", loc="left")
        grid[0].set_ylabel("rank, really trained")
        return style.save(figure, out / NAME)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    merged, trained = (_ranks([number(row[side]) for row in rows]) for side in ("merged", "trained"))
    axes.scatter(merged, trained, s=18, facecolor=style.SKY, edgecolor=style.BLUE, linewidth=0.8, zorder=3)
    style.identity(axes, 1.0)
    axes.set_box_aspect(1)
    axes.set_xlabel("rank, merged (1: best)")
    axes.locator_params(nbins=5, integer=True)


def _ranks(values: Sequence[float]) -> list[int]:
    """Return each value's place, the largest first; scores of models do not tie."""
    order = sorted(range(len(values)), key=lambda at: -values[at])
    return [order.index(at) + 1 for at in range(len(values))]


def _caption(results: Path) -> str:
    sizes = found(results)["sizes"]
    return (
        f"n = {sizes['trained_ratios']} ratios drawn evenly from the simplex of all datasets; trained: mean "
        f"of {sizes['truth_seeds']} seeds; validation. ρ is Spearman's, its 95 % interval is about other "
        "ratios (jackknife). Dashed: the same rank. The paper draws the nine ratios of its figure 3 and "
        f"prints no coefficient there.\n\n{differences(results)}"
    )


PART = Part("Ranks of merged and trained mixtures (figure 2)", NEEDS, _caption, draw=draw)
