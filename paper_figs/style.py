"""One look for every figure, and one way to save it: colour-blind safe, the same bytes every time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from m2m.support.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's palette, safe for the common colour-vision deficiencies.
BLUE, VERMILION, GREEN, ORANGE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#6E6E6E"
PALETTE = BLUE, VERMILION, GREEN, ORANGE, SKY, GREY

#: Inches: one column and two columns of a paper.
COLUMN, PAGE = 3.4, 7.0

_LOOK: Any = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 6.5,
    "figure.dpi": 200,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "m2m",
    "text.parse_math": False,  # names of datasets may hold a dollar sign
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw in the common look while the block runs."""
    with mpl.rc_context():
        backend = mpl.rcParams["backend"]
        mpl.rcdefaults()
        mpl.rcParams.update({**_LOOK, "backend": backend})
        yield


def shown(value: float | None, form: str) -> str:
    """Write a number; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def footnote(figure: Figure, lines: Sequence[str]) -> None:
    """Write below a figure why something is not in it; without lines, nothing."""
    if lines:
        width = int(figure.get_figwidth() * 22)
        text = "\n".join(fill(line, width) for line in lines)
        figure.supxlabel("\n".join(filter(None, (figure.get_supxlabel(), text))), fontsize=6)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG; equal figures give equal bytes, and readers never see half a file."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = stem.with_name(f"{stem.name}.{kind}")
        with replacing(path) as file:
            figure.savefig(file, format=kind, metadata=metadata)
        written.append(path)
    return written


def label_cells(
    axes: Axes,
    matrix: Sequence[Sequence[float]],
    names: Sequence[str],
    dark: Callable[[float], bool],
    fontsize: float,
) -> None:
    """Write numbers into the cells of a drawn matrix, white where they are dark, and names beside it."""
    axes.grid(visible=False)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            color = "white" if dark(value) else "black"
            axes.text(j, i, shown(value, ".2f"), ha="center", va="center", color=color, fontsize=fontsize)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)


def identity(axes: Axes, at: float, **look: Any) -> None:
    """Draw the dashed line y = x through a point of it."""
    axes.axline((at, at), slope=1, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, **look)


def logarithmic(axes: Axes, *which: Literal["x", "y"]) -> None:
    """Make axes logarithmic where anything is above zero, labelled in plain numbers."""
    # The look leaves dollar signs alone, so no mathtext; axes with nothing above zero stay as they are.
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        if not math.isfinite(axes.dataLim.minposx if name == "x" else axes.dataLim.minposy):
            continue
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
        within_a_decade = high < 30 * low
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_a_decade else (1,), numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
