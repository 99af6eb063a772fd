"""A run's scores as arrays, all oriented so that higher is better."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.scores import Points, Sample
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline.headlines import headline_rows
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats, Ints


@dataclass(frozen=True)
class Grid:
    """Validation scores of every mixture on every target.

    Attributes:
        targets: Names of the targets. [T]
        mixtures: The mixtures. [M]
        base: Scores of the base model. [T]
        merged: Scores of merged models. [T, M]
        trained: Scores of mixture-trained models, of the first seed. [T, M]
        again: Scores of mixture-trained models of the second seed; None if some are missing. [T, M]
    """

    targets: tuple[str, ...]
    mixtures: tuple[Mixture, ...]
    base: Floats
    merged: Floats
    trained: Floats
    again: Floats | None = None

    @property
    def sizes(self) -> Ints:
        """Number of datasets of each mixture. [M]."""
        return np.array([len(mixture.members) for mixture in self.mixtures])

    @property
    def large(self) -> Ints:
        """Numbers of the mixtures of two or more datasets: a merged single dataset is the trained one."""
        return np.flatnonzero(self.sizes > 1)


def read_grid(folder: RunFolder, results: Mapping[str, Any]) -> Grid:
    """Read a validated run's scores: all subsets, on all targets that have all scores."""
    first = results["seed"]
    with ScoreTable(folder.table, read_only=True) as table:
        frame = headline_rows(table.frame(split="validation"), results)
    members: Any = [tuple(json.loads(text)) for text in frame["members"]]
    rows: Any = frame.assign(key_of=members).itertuples()
    found: dict[tuple[str, str, tuple[str, ...], int], float] = {
        (row.origin, row.task, row.key_of, row.seed if row.origin == "trained" else first): row.value
        if row.higher_is_better
        else -row.value
        for row in rows
    }
    mixtures = tuple(all_subsets(results["datasets"]))
    wanted = [("base", ()), *((origin, m.members) for m in mixtures for origin in ("merged", "trained"))]
    targets = tuple(
        task
        for task in dict.fromkeys(frame["task"])
        if all((origin, task, members, first) in found for origin, members in wanted)
    )

    def scores(origin: str, seed: int) -> Floats:
        values = [found.get((origin, task, m.members, seed), np.nan) for task in targets for m in mixtures]
        return np.array(values).reshape(len(targets), len(mixtures))

    base = np.array([found["base", task, (), first] for task in targets])
    again = scores("trained", first + 1)
    complete = again.size > 0 and bool(np.isfinite(again).all())
    return Grid(
        targets,
        mixtures,
        base,
        scores("merged", first),
        scores("trained", first),
        again if complete else None,
    )


def comparable(first: Grid, second: Grid) -> bool:
    """Return whether two grids are of the same mixtures and targets, in the same order."""
    return first.mixtures == second.mixtures and first.targets == second.targets


def points_of(grid: Grid, merged: Floats) -> list[Points]:
    """Take merged scores [T, M] of a grid as fidelity does, without single datasets: a target each."""
    large = grid.large
    members = tuple(grid.mixtures[number].members for number in large)
    again = np.full_like(grid.trained, np.nan) if grid.again is None else grid.again
    sides = zip(grid.targets, *(side[:, large] for side in (merged, grid.trained, again)), strict=True)
    labels = tuple("+".join(names) for names in members)
    return [Points(target, "score", True, labels, members, *scores) for target, *scores in sides]


def paired_scores(merged: Floats, trained: Floats) -> Sample:
    """Take scores [T, M] as fidelity does: rows are compared within their target."""
    targets, count = merged.shape
    stratum, mixture = np.repeat(np.arange(targets), count), np.tile(np.arange(count), targets)
    return Sample(merged.ravel(), trained.ravel(), stratum, mixture, None)


def pooled(coefficient: str, merged: Floats, trained: Floats) -> float:
    """Return fidelity's `pearson` or `spearman` of scores [T, M], pooled within targets; NaN if constant."""
    sample = paired_scores(merged, trained)
    return float(COEFFICIENTS[coefficient](sample, np.ones((1, sample.n)))[0])
