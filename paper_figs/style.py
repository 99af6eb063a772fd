"""One look for every figure, and one way to save it: colour-blind safe, the same bytes every time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from m2m.support.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's palette, safe for the common colour-vision deficiencies.
BLUE, VERMILION, GREEN, ORANGE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#6E6E6E"
PALETTE = BLUE, VERMILION, GREEN, ORANGE, SKY, GREY
#: One more than there are colours, so that 42 pairs come before one comes again; they differ in grey too.
MARKERS = "o", "s", "^", "D", "v", "P", "X"

#: Inches: one column and two columns of a paper.
COLUMN, PAGE = 3.4, 7.0

#: Kinds of files that a figure is written as, without what would differ from one time to the next.
_KINDS: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}}
_PDF: dict[str, Any] = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
_kinds = ContextVar("_kinds", default=_KINDS)
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
    "pdf.fonttype": 42,  # letters stay letters
    "svg.fonttype": "path",
    "svg.hashsalt": "m2m",
    "text.parse_math": False,  # names of datasets may hold a dollar sign
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


def colour(at: int) -> str:
    """Return the colour of the at-th of several."""
    return PALETTE[at % len(PALETTE)]


def mark(at: int) -> str:
    """Return the mark of the at-th of several."""
    return MARKERS[at % len(MARKERS)]


@contextmanager
def look() -> Iterator[None]:
    """Draw in the common look while the block runs."""
    with mpl.rc_context():
        backend = mpl.rcParams["backend"]
        mpl.rcdefaults()
        mpl.rcParams.update({**_LOOK, "backend": backend})
        yield


@contextmanager
def with_pdf() -> Iterator[None]:
    """Have figures saved as PDF too while the block runs: what journals take."""
    before = _kinds.set({**_KINDS, **_PDF})
    try:
        yield
    finally:
        _kinds.reset(before)


def shown(value: float | None, form: str) -> str:
    """Write a number; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def shortened(text: str, inches: float, size: float) -> str:
    """Cut a text that would be wider than `inches` in letters of `size` points; "…" stands for the rest."""
    kept = text
    while len(kept) > 1 and _width(kept, size) > inches:
        kept = kept.removesuffix("…")[:-1] + "…"
    return kept


def _width(text: str, size: float) -> float:
    points, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(points) / 72


def panel_width(figure: float, across: int) -> float:
    """Return the inches left to each of several panels beside each other, once they have ticks and labels."""
    return (figure - 0.8 - 0.45 * (across - 1)) / across


def legend(figure: Figure, entries: Mapping[str, Any], where: Any = "outside lower center") -> float:
    """Put a legend of handles by their labels outside the axes, in as many columns as fit.

    Returns:
        Its height in inches.
    """
    look: Any = {"loc": where, "columnspacing": 1.0, "handlelength": 1.6}
    for columns in range(len(entries), 0, -1):
        drawn = figure.legend(list(entries.values()), list(entries), ncols=columns, **look)
        box = drawn.get_window_extent()
        if columns == 1 or box.width <= figure.bbox.width:
            return float(box.height) / figure.dpi
        drawn.remove()
    return 0.0


def entries(panels: Iterable[Axes]) -> dict[str, Any]:
    """Return what occurs in any of the panels, by label, for one legend of all."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if not hasattr(handle, "get_offsets") or len(handle.get_offsets()):
                found.setdefault(label, handle)
    return found


def footnote(figure: Figure, lines: Sequence[str]) -> None:
    """Write below a figure why something is not in it; without lines, nothing."""
    if lines:
        width = int(figure.get_figwidth() * 22)
        text = "\n".join(fill(line, width) for line in lines)
        figure.supxlabel("\n".join(filter(None, (figure.get_supxlabel(), text))), fontsize=6)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG, and as PDF in `with_pdf`: the same bytes again, never half a file."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, metadata in _kinds.get().items():
        path = stem.with_name(f"{stem.name}.{kind}")
        with replacing(path) as file:
            figure.savefig(file, format=kind, metadata=metadata)
        written.append(path)
    return written


def remove(stem: Path) -> None:
    """Take away a figure of earlier results where these have nothing to draw."""
    for kind in (*_KINDS, *_PDF):
        stem.with_name(f"{stem.name}.{kind}").unlink(missing_ok=True)


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
