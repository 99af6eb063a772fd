"""A design on disk: the table of all mixtures that says which to train, to be filled in and read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.fidelity.sources import LABEL
from analysis.trust.agreement import FEWEST
from analysis.trust.design import Planned, design
from analysis.trust.landscape import RANDOM, Landscape
from analysis.trust.sources import PURPOSE
from m2m.errors import InputError
from m2m.support.arguments import argument
from m2m.support.csv_tables import write_frame

NAME = "trainings"


def plan(landscapes: Sequence[Landscape], budget: int, seed: int = 0) -> list[Planned]:
    """Say which mixtures to train for all targets, as `design` does.

    Args:
        landscapes: The merged scores of each target, over the same mixtures.
        budget: Trainings.
        seed: Seed of the random sample.

    Returns:
        The mixtures to train, and those that were drawn by chance and are trained: with a score on every
        target.

    Raises:
        InputError: If targets have different mixtures, or fewer mixtures than trainings are left.
    """
    mixtures = landscapes[0].mixtures
    other = next((each.target for each in landscapes if each.mixtures != mixtures), None)
    if other is not None:
        raise InputError(
            f"target {other!r} has other mixtures than {landscapes[0].target!r}: give all the same"
        )
    merged = np.stack([landscape.merged for landscape in landscapes])
    better = [landscape.higher_is_better for landscape in landscapes]
    return design(
        merged, mixtures, budget, seed, higher_is_better=better, trained=_known(landscapes),
        purposes=_purposes(landscapes),
    )  # fmt: skip


def _known(landscapes: Sequence[Landscape]) -> NDArray[np.bool_]:
    """Whether each mixture is trained on every target. [C]."""
    known: NDArray[np.bool_] = np.all([np.isfinite(each.measured) for each in landscapes], axis=0)
    return known


def _purposes(landscapes: Sequence[Landscape]) -> list[str]:
    """What each mixture was trained for, where all targets say the same. [C]."""
    count = len(landscapes[0].mixtures)
    said = zip(*(each.purposes or [""] * count for each in landscapes), strict=True)
    return [purposes[0] if len(set(purposes)) == 1 else "" for purposes in said]


def warnings(landscapes: Sequence[Landscape], planned: Sequence[Planned]) -> list[str]:
    """Say what cannot be told once all of a plan is trained.

    Args:
        landscapes: The scores of each target, as they were planned from.
        planned: What `plan` made of them.

    Returns:
        A sentence if too few mixtures are drawn by chance for a correlation; none if all will be trained.
    """
    known, rows = _known(landscapes), {one.row for one in planned}
    waiting = int(np.sum(~known))
    before = [purpose == RANDOM and known[row] for row, purpose in enumerate(_purposes(landscapes))]
    earlier = sum(there and row not in rows for row, there in enumerate(before))
    drawn = earlier + sum(one.purpose == RANDOM for one in planned)
    least = FEWEST["pearson"]
    if drawn >= least or waiting == sum(not one.trained for one in planned):
        return []
    enough = min(2 * (least - earlier) - 1, waiting)
    return [
        f"a correlation needs {least} mixtures drawn by chance, and this makes {drawn}: "
        f"{argument('budget')} {enough} is the least that gives one"
    ]


def write(folder: Path, landscapes: Sequence[Landscape], planned: Sequence[Planned]) -> None:
    """Write `trainings.csv`: a row a target and mixture, its scores, what it is or was to be trained for."""
    purposes = {one.row: one.purpose for one in planned}
    frames = [
        pd.DataFrame(
            {
                "target": landscape.target,
                LABEL: [mixture.label for mixture in landscape.mixtures],
                "merged": landscape.merged,
                "trained": landscape.measured,
                PURPOSE: [purposes.get(row, was) for row, was in enumerate(_served(landscape))],
            }
        )
        for landscape in landscapes
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_frame(folder / f"{NAME}.csv", pd.concat(frames, ignore_index=True))


def _served(landscape: Landscape) -> list[str]:
    """What the trained mixtures were trained for: an earlier plan that was not followed is void. [C]."""
    purposes = landscape.purposes or [""] * len(landscape.mixtures)
    known = np.isfinite(landscape.measured)
    return [purpose if there else "" for purpose, there in zip(purposes, known, strict=True)]


def to_json(planned: Sequence[Planned], warnings: Sequence[str]) -> dict[str, Any]:
    """Lay a design out for JSON."""
    rows = [{"mixture": one.mixture.label, "purpose": one.purpose, "trained": one.trained} for one in planned]
    return {NAME: rows, "warnings": list(warnings)}
