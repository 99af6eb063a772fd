"""A design on disk: the table of all mixtures that says which to train, to be filled in and read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.fidelity.sources import LABEL
from analysis.trust.design import Planned, design
from analysis.trust.landscape import Landscape
from analysis.trust.sources import PURPOSE
from m2m.errors import InputError
from m2m.support.csv_tables import write_frame

NAME = "trainings"


def plan(landscapes: Sequence[Landscape], budget: int, seed: int = 0) -> list[Planned]:
    """Say which mixtures to train for all targets, as `design` does.

    Args:
        landscapes: The merged scores of each target, over the same mixtures.
        budget: Trainings.
        seed: Seed of the random sample.

    Returns:
        The mixtures to train.

    Raises:
        InputError: If targets have different mixtures, or there are fewer mixtures than trainings.
    """
    mixtures = landscapes[0].mixtures
    other = next((each.target for each in landscapes if each.mixtures != mixtures), None)
    if other is not None:
        raise InputError(
            f"target {other!r} has other mixtures than {landscapes[0].target!r}: give all the same"
        )
    merged = np.stack([landscape.merged for landscape in landscapes])
    better = [landscape.higher_is_better for landscape in landscapes]
    return design(merged, mixtures, budget, seed, higher_is_better=better)


def write(folder: Path, landscapes: Sequence[Landscape], planned: Sequence[Planned]) -> None:
    """Write `trainings.csv`: a row a target and mixture, its scores, and what it is to be trained for."""
    purposes = {one.row: one.purpose for one in planned}
    frames = [
        pd.DataFrame(
            {
                "target": landscape.target,
                LABEL: [mixture.label for mixture in landscape.mixtures],
                "merged": landscape.merged,
                "trained": landscape.measured,
                PURPOSE: [purposes.get(row, "") for row in range(len(landscape.mixtures))],
            }
        )
        for landscape in landscapes
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_frame(folder / f"{NAME}.csv", pd.concat(frames, ignore_index=True))


def to_json(planned: Sequence[Planned]) -> dict[str, Any]:
    """Lay a design out for JSON."""
    return {NAME: [{"mixture": one.mixture.label, "purpose": one.purpose} for one in planned]}
