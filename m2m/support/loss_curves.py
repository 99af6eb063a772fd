"""Losses of trainings as they lie beside models, for whoever draws them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m2m.support.csv_tables import read_rows
from m2m.support.doors import reading

#: A curve is drawn as means over this share of its steps: single batches differ more than steps do.
_SMOOTHED = 0.05


@dataclass(frozen=True)
class Curve:
    """One training.

    Attributes:
        label: The folder of its mixture.
        seed: The training seed, as its folder is named.
        steps: The steps whose batches' losses are known. [T]
        losses: The losses, each before its step. [T]
    """

    label: str
    seed: str
    steps: list[int]
    losses: list[float]

    def smoothed(self) -> tuple[list[float], list[float]]:
        """Return means of steps and of losses over twentieths of the curve."""
        width = max(1, round(_SMOOTHED * len(self.steps)))
        starts = range(0, len(self.steps), width)
        return (
            [_mean(self.steps[start : start + width]) for start in starts],
            [_mean(self.losses[start : start + width]) for start in starts],
        )


def read_curves(room: Path) -> list[Curve]:
    """Read the curves of all models in a run's room, `experts` or `mixtures`; those without are left out."""
    found = []
    for path in sorted(room.glob("*/seed*/loss.csv")):
        with reading("losses of a training", path):
            rows = [
                (int(row["step"]), float(row["loss"])) for _, row in read_rows(path, "a training's losses")
            ]
        if rows:
            label, seed = path.parents[1].name, path.parent.name.removeprefix("seed")
            found.append(Curve(label, seed, [step for step, _ in rows], [loss for _, loss in rows]))
    return found


def _mean(values: list[int] | list[float]) -> float:
    return sum(values) / len(values)
