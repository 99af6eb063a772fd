"""Losses of a run's trainings over their steps: experts by name, mixtures as one family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from m2m.support.loss_curves import Curve, read_curves
from paper_figs import style

NAME = "loss_curves"
#: Experts that get a colour of their own.
_NAMED = 5


def draw(run: Path, out: Path) -> list[Path]:
    """Draw the losses of the models in a run folder; nothing where none has any beside it."""
    experts, mixtures = (read_curves(run / room) for room in ("experts", "mixtures"))
    if not experts and not mixtures:
        return []
    with style.look():
        figure = Figure(figsize=(style.PAGE, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _experts(left, experts)
        _mixtures(right, mixtures)
        left.set_ylabel("loss of a batch [nat]")
        for axes in (left, right):
            axes.set_xlabel("optimizer step")
        style.legend(figure, style.entries([left]))
        return style.save(figure, out / NAME)


def _experts(axes: Axes, curves: Sequence[Curve]) -> None:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    for curve in curves:
        at = labels.index(curve.label)
        color = style.PALETTE[at] if at < _NAMED else style.GREY
        name = style.shortened(curve.label, 1.5, 7.5) if at < _NAMED else "other experts"
        axes.plot(*curve.smoothed(), color=color, label=name)
    axes.set_title(f"{len(labels)} experts")


def _mixtures(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(*curve.smoothed(), color=style.GREY, alpha=0.6, linewidth=0.7)
    axes.set_title(f"{len(curves)} trainings on mixtures")
