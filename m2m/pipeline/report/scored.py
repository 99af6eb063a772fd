"""What a run's table says of each mixture, finished or not: the points of the page's charts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from m2m.mixture import shown_label
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scored:
    """One mixture on one target's validation split.

    Attributes:
        label: The mixture's label.
        weights: Share by dataset, those that it has.
        merged: Score of the merged model; None where it was not scored.
        trained: Score by training seed of the trained models.
    """

    label: str
    weights: Mapping[str, float]
    merged: float | None = None
    trained: Mapping[int, float] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The label for people."""
        even = len(set(self.weights.values())) == 1
        return " + ".join(self.weights) if even else shown_label(self.label)

    @property
    def is_single(self) -> bool:
        """Whether it is of one dataset, whose merged model is its expert."""
        return len(self.weights) == 1

    @cached_property
    def truth(self) -> float | None:
        """Score of the model trained with the lowest seed, which is the run's; None if none was."""
        return self.trained[min(self.trained)] if self.trained else None


@dataclass(frozen=True)
class ScoredTarget:
    """All mixtures that have a score on one target, in the order in which they were scored.

    Attributes:
        name: The target.
        metric: The metric that decides on it.
        higher_is_better: Its direction.
        base: The base model's score; None where it was not scored.
        mixtures: The mixtures.
    """

    name: str
    metric: str
    higher_is_better: bool
    base: float | None
    mixtures: Sequence[Scored]

    @property
    def merged(self) -> list[Scored]:
        """Those with a merged score, in order."""
        return [one for one in self.mixtures if one.merged is not None]

    @property
    def trained(self) -> list[Scored]:
        """Those with a merged and a trained score, in order."""
        return [one for one in self.merged if one.truth is not None]

    def better(self, score: float) -> float:
        """Turn a score so that higher is better."""
        return score if self.higher_is_better else -score

    def best(self, *, trained: bool = False) -> Scored | None:
        """Return the mixture with the best merged, or trained, score; None where there is none."""
        found = self.trained if trained else self.merged
        return max(found, key=lambda one: self.better(_score(one, trained=trained)), default=None)


def scored_targets(folder: RunFolder, metrics: Mapping[str, str]) -> dict[str, ScoredTarget]:
    """Read a run's validation scores, of a run that goes on as well.

    Args:
        folder: The run folder.
        metrics: Metric that decides by target; of others it is the one that was written first.

    Returns:
        What was scored by target; empty before the first score.
    """
    if not folder.table.exists():
        return {}
    with ScoreTable(folder.table, read_only=True) as table:
        found = {}
        for task in map(str, table.distinct("task", split="validation")):
            metric = metrics.get(task) or table.headline(task=task, split="validation")
            order = table.order(task=task, split="validation", metric=metric)
            frame = table.frame(task=task, split="validation", metric=metric)
            if rows := sorted(_records(frame), key=lambda row: order[row["candidate"]]):
                found[task] = _target(task, rows)
        return found


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _target(task: str, rows: Sequence[Mapping[str, Any]]) -> ScoredTarget:
    base, mixtures = None, dict[str, dict[str, Any]]()
    for row in rows:
        if row["origin"] == "base":
            base = row["value"]
        if row["origin"] not in ("merged", "trained"):
            continue
        weights = {name: share for name, share in json.loads(row["weights"]).items() if share}
        one = mixtures.setdefault(row["candidate"], {"weights": weights, "merged": None, "trained": {}})
        if row["origin"] == "merged":
            one["merged"] = row["value"]
        else:
            one["trained"][int(row["seed"])] = row["value"]
    return ScoredTarget(
        name=task,
        metric=rows[0]["metric"],
        higher_is_better=bool(rows[0]["higher_is_better"]),
        base=base,
        mixtures=[Scored(label, **one) for label, one in mixtures.items()],
    )


def _score(one: Scored, *, trained: bool) -> float:
    score = one.truth if trained else one.merged
    assert score is not None
    return score
