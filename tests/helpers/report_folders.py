"""Run folders for the report's tests: real tables, and results as a run writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m2m.mixture import Mixture, all_subsets
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Values:
    values: Mapping[str, Floats]


def write_scores(
    root: Path, names: Sequence[str], *, merged: int | None = None, trained: int = 0, target: str = "law"
) -> None:
    """Score the first subsets, in their order: merged losses fall with size, trained ones a little faster."""
    with ScoreTable(root / "scores.sqlite") as table:
        subsets = all_subsets(names)
        _add(table, None, "base", None, target, 3.0)
        for mixture in subsets[:merged]:
            _add(table, mixture, "merged", None, target, loss_of(mixture, "merged"))
        for mixture in subsets[:trained]:
            _add(table, mixture, "trained", 0, target, loss_of(mixture, "trained"))


def loss_of(mixture: Mixture, origin: str) -> float:
    """Return a loss of which every subset has another; of one dataset merged and trained are the same."""
    members = [mixture.datasets.index(name) + 1 for name in mixture.members]
    merged = 3.0 - 0.1 * sum(1 / place for place in members) / len(members) ** 0.5
    return merged if origin == "merged" or len(members) == 1 else merged - 0.01 * len(members)


def _add(
    table: ScoreTable, mixture: Mixture | None, origin: str, seed: int | None, target: str, loss: float
) -> None:
    key = f"{origin}-{'base' if mixture is None else mixture.key}"
    scores = Values({"loss": np.array([loss - 0.5, loss + 0.5])})
    table.add(key, mixture, origin, seed, target, "validation", "v", scores, {"loss": False})


def write_run(root: Path, config: str = "") -> None:
    """Write what marks a folder as a run's."""
    identity = {"identity": "x", "root": str(root), "contents": {}, "origins_noted": True}
    (root / "run.json").write_text(json.dumps(identity), encoding="utf-8")
    if config:
        (root / "config.toml").write_text(config, encoding="utf-8")


def write_curve(root: Path, room: str, label: str, losses: Sequence[float]) -> None:
    """Write the losses of a training, and the manifest that says that it is whole."""
    folder = root / room / label / "seed0"
    folder.mkdir(parents=True)
    rows = [f"{step},{loss},0.1" for step, loss in enumerate(losses, 1)]
    (folder / "loss.csv").write_text("\n".join(["step,loss,learning_rate", *rows]) + "\n", encoding="utf-8")
    (folder / "manifest.json").write_text("{}", encoding="utf-8")


def finished(names: Sequence[str], picked: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Return results of a run that trained what it chose."""
    return {
        "m2m": "0.1.0",
        "target": "law",
        "metric": "loss",
        "higher_is_better": False,
        "datasets": list(names),
        "picked": list(picked),
        "all": list(names),
        "test": {"base": 3.0, "picked": 2.0, "all": 2.5},
        "validation": {"base": 3.1, "picked": 2.1, "all": 2.6},
        "fidelity": {},
        "seconds": {"experts": 90.0, "surrogate": 10.0},
        "recipe": {"steps": 40},
        "seed": 0,
        **changes,
    }
