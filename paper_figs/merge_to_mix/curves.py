"""Losses of a run's trainings over their steps: experts by name, mixtures as one family."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import style

NAME = "loss_curves"
#: Experts that get a colour of their own.
_NAMED = 5
#: A curve is drawn as means over this share of its steps: single batches differ more than steps do.
_SMOOTHED = 0.05


class Curve(NamedTuple):
    """One training: its mixture's label, and its batches' losses by step."""

    label: str
    steps: list[int]
    losses: list[float]


def draw(run: Path, out: Path) -> list[Path]:
    """Draw the losses of the models in a run folder; nothing where none has any beside it."""
    experts, mixtures = (_read(run / room) for room in ("experts", "mixtures"))
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


def _read(room: Path) -> list[Curve]:
    found = []
    for path in sorted(room.glob("*/seed*/loss.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        steps, losses = [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
        if steps:
            found.append(Curve(path.parents[1].name, steps, losses))
    return found


def _experts(axes: Axes, curves: Sequence[Curve]) -> None:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    for curve in curves:
        at = labels.index(curve.label)
        color = style.PALETTE[at] if at < _NAMED else style.GREY
        name = style.shortened(curve.label, 1.5, 7.5) if at < _NAMED else "other experts"
        axes.plot(*_smoothed(curve), color=color, label=name)
    axes.set_title(f"{len(labels)} experts")


def _mixtures(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(*_smoothed(curve), color=style.GREY, alpha=0.6, linewidth=0.7)
    axes.set_title(f"{len(curves)} trainings on mixtures")


def _smoothed(curve: Curve) -> tuple[list[float], list[float]]:
    width = max(1, round(_SMOOTHED * len(curve.steps)))
    starts = range(0, len(curve.steps), width)
    return (
        [_mean(curve.steps[start : start + width]) for start in starts],
        [_mean(curve.losses[start : start + width]) for start in starts],
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
