"""Losses of trainings as they lie beside models, for whoever draws them."""

from __future__ import annotations

from collections.abc import Container
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
        room: The folder of its kind, `experts` or `mixtures`.
        label: The folder of its mixture.
        seed: The training seed, as its folder is named.
        steps: The steps whose batches' losses are known. [T]
        losses: The losses, each before its step. [T]
    """

    room: str
    label: str
    seed: str
    steps: list[int]
    losses: list[float]

    @property
    def name(self) -> str:
        """Where it lies in the run: `experts/law/seed0`."""
        return f"{self.room}/{self.label}/seed{self.seed}"

    def smoothed(self) -> tuple[list[float], list[float]]:
        """Return means of steps and of losses over twentieths of the curve."""
        width = max(1, round(_SMOOTHED * len(self.steps)))
        starts = range(0, len(self.steps), width)
        return (
            [_mean(self.steps[start : start + width]) for start in starts],
            [_mean(self.losses[start : start + width]) for start in starts],
        )


def read_curves(room: Path, known: Container[str] = ()) -> list[Curve]:
    """Read the curves of all models in a run's room, `experts` or `mixtures`, that have one.

    Args:
        room: The folder.
        known: Names of trainings to pass by, as `Curve.name` has them.

    Returns:
        The curves.
    """
    found = []
    for path in sorted(room.glob("*/seed*/loss.csv")):
        label, seed = path.parents[1].name, path.parent.name.removeprefix("seed")
        if f"{room.name}/{label}/seed{seed}" in known:
            continue
        with reading("losses of a training", path):
            rows = [(int(row["step"]), float(row["loss"])) for _, row in read_rows(path, "losses")]
        if rows:
            found.append(
                Curve(room.name, label, seed, [step for step, _ in rows], [loss for _, loss in rows])
            )
    return found


def _mean(values: list[int] | list[float]) -> float:
    return sum(values) / len(values)
