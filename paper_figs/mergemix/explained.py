"""How much of the residual theory leaves unexplained, and how long the residual is, as steps grow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figs import style
from paper_figs.style import logarithmic
from paper_figs.tables import Row, number, read, reasons

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, NAME = "interaction_steps.csv", "interaction_steps"
#: The column that Adam's runs have.
FIRST = "share_first_order"
#: Shares that leave less than this unexplained are rounding.
_FLOOR = 1e-12


def draw(results: Path, out: Path) -> list[Path]:
    """Draw both panels of what `m2m-analysis interaction --step-sizes` wrote."""
    rows = read(results / TABLE)
    horizons = list(dict.fromkeys(row["steps"] for row in rows))
    colours = {steps: style.colour(i) for i, steps in enumerate(horizons)}
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for steps, colour in colours.items():
            chosen = [row for row in rows if row["steps"] == steps]
            _curve(left, chosen, [1 - number(row["share"]) for row in chosen], colour, "o-")
            _curve(left, chosen, [1 - number(row["share_any_horizon"]) for row in chosen], colour, "^:")
            if FIRST in chosen[0]:
                _curve(left, chosen, [1 - number(row[FIRST]) for row in chosen], colour, "s--")
            _curve(right, chosen, [number(row["relative"]) for row in chosen], colour, "o-")
            _curve(right, chosen, [number(row["rho"]) for row in chosen], style.GREY, "--")
        left.axhline(0.05, color=style.GREY, linewidth=0.8)
        left.annotate(
            "95 % explained", (0.02, 0.05), xycoords=("axes fraction", "data"), va="bottom", fontsize=7
        )
        for axes, label in ((left, "share of ‖Δ‖² left unexplained"), (right, "‖Δ‖ / ‖θ* − θ₀‖")):
            logarithmic(axes, "x", "y")
            axes.set_xlabel("η T ‖H‖")
            axes.set_ylabel(label)
        _legend(figure, colours, first=FIRST in rows[0])
        style.footnote(figure, reasons(rows, "share", "share_any_horizon", "relative", "rho"))
        return style.save(figure, out / NAME)


def _curve(axes: Axes, rows: list[Row], values: list[float], colour: str, line: str) -> None:
    x = [number(row["step_size"]) * int(row["steps"]) for row in rows]
    axes.plot(x, [max(value, _FLOOR) for value in values], line, color=colour, markersize=3)


def _legend(figure: Figure, colours: dict[str, str], *, first: bool) -> None:
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "second order": ("black", "o", "-"),
        "all orders of ηH": ("black", "^", ":"),
        "predicted before training": (style.GREY, "", "--"),
    }
    if first:
        kinds = {"first order": ("black", "s", "--"), **kinds}
    handles = [Line2D([], [], color=colour, label=f"T = {steps}") for steps, colour in colours.items()]
    handles += [
        Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=3, label=label)
        for label, (colour, marker, line) in kinds.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
