"""What the writer processes of the tests import: no heavy modules, so that they start fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m2m.mixture import Mixture
from m2m.scoring.table import ScoreTable

PAIR = Mixture.subset("abc", "ac")
METRICS = {"accuracy": True, "loss": False}


@dataclass
class Measured:
    """Scores without the evaluation room, so that the writer processes below start fast."""

    values: Mapping[str, np.ndarray[Any, Any]]


def add(table: ScoreTable, key: str = "k", mixture: Mixture | None = PAIR, **changes: Any) -> None:
    scores = changes.pop("scores", {"accuracy": np.array([1.0, 0.0, 1.0]), "loss": np.array([0.1, 2.0, 0.3])})
    row = {"origin": "merged", "seed": None, "task": "t", "split": "validation", "version": "1"} | changes
    metrics = row.pop("metrics", METRICS)
    table.add(key, mixture, **row, scores=Measured(scores), metrics=metrics)


def write_many(path: str, worker: int) -> None:
    with ScoreTable(Path(path)) as table:
        for number in range(20):
            add(table, f"{worker}-{number}")
            add(table, f"shared-{number}")
