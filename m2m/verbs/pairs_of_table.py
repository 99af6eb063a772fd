"""Trained pairs beside a table of scores: what they add to the merged scores of all its mixtures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.predicting import PairCorrection
from m2m.support.arrays import Floats
from m2m.support.names import split_label
from m2m.support.schema import check_shape
from m2m.verbs.score_rows import ScoreLine, examples_of, rows_of

_Point = tuple[float, ...]


@dataclass(frozen=True)
class PairCheck:
    """How well corrected scores foretell trainings that had no part in the correction.

    Attributes:
        trainings: Trained mixtures of three or more datasets; each of several seeds is one.
        error_merged: Root mean square of merged minus trained score.
        error: Root mean square of corrected minus trained score.
    """

    trainings: int
    error_merged: float
    error: float


@dataclass(frozen=True)
class PairsOfTable:
    """A table's merged scores, corrected by trained pairs: Scheffé's quadratic on scores (`PairCorrection`).

    Attributes:
        rows: The table's rows, each with what the pairs add to its score. [M]
        trainings: How many trained pairs that is from; each of several seeds is one.
        check: How well it does on larger mixtures; None where none was trained.
    """

    rows: list[ScoreLine]
    trainings: int
    check: PairCheck | None
    _table: Path
    _points: Mapping[str, _Point]
    _by_example: PairCorrection | None

    @classmethod
    def read(cls, table: Path, rows: Sequence[ScoreLine], source: Path, seed: int | None) -> PairsOfTable:
        """Correct merged scores by what training adds to every pair of their datasets.

        Args:
            table: The CSV file that the rows are from.
            rows: Merged scores that may be compared. [M]
            source: The CSV file with the pairs' trained scores on the same task; may be the same.
            seed: Training seed of the pairs; None: all seeds, averaged.

        Returns:
            The corrected rows.

        Raises:
            InputError: If a candidate is no mixture, a pair was not trained or not merged, or scores of the
                two files cannot be compared.
        """
        mixtures = {row.candidate: _mixture(table, row) for row in rows}
        datasets = tuple(dict.fromkeys(name for mixture in mixtures.values() for name in mixture.members))
        points = {label: _point(mixture, datasets) for label, mixture in mixtures.items()}
        trained = _trained(source, rows[0], seed, datasets)
        pairs = [(point, row) for point, row in trained if np.count_nonzero(point) == 2]
        merged = _merged_pairs(table, {points[row.candidate]: row for row in rows}, pairs, source, datasets)
        places = np.array([point for point, _ in pairs]).reshape(-1, len(datasets))
        gains = [row.value - below.value for (_, row), below in zip(pairs, merged, strict=True)]
        try:
            correction = PairCorrection.through(datasets, places, np.array(gains))
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        added = correction.at(np.array([points[row.candidate] for row in rows])).tolist()
        corrected = [replace(row, added=delta) for row, delta in zip(rows, added, strict=True)]
        examples = _gains_by_example((source, [row for _, row in pairs]), (table, merged))
        return cls(
            rows=corrected,
            trainings=len(pairs),
            check=_check({points[row.candidate]: row for row in corrected}, trained),
            _table=table,
            _points=points,
            _by_example=None if examples is None else PairCorrection.through(datasets, places, examples),
        )

    def examples(self, row: ScoreLine) -> list[float] | None:
        """Return every example's corrected score [E]; None unless it is known of the pairs too."""
        examples = examples_of(self._table, row)
        if examples is None or self._by_example is None:
            return None
        [added] = self._by_example.at(np.array([self._points[row.candidate]]))
        return [score + more for score, more in zip(examples, added.tolist(), strict=True)]


def _mixture(table: Path, row: ScoreLine) -> Mixture:
    """Return the mixture of a row, over the datasets that the row names."""
    try:
        if row.weights:
            shares = json.loads(row.weights)
            check_shape(shares, {str: float}, "`weights`")
            return Mixture(tuple(shares), tuple(map(float, shares.values())))
        names = [part.partition("=")[0].strip() for part in split_label(row.candidate)]
        return Mixture.parse(row.candidate, names)
    except (InputError, ValueError, RecursionError) as error:
        raise InputError(
            f"{table}, line {row.line}: {row.candidate!r} is no mixture, and trained pairs correct only "
            f"those: {error}"
        ) from None


def _point(mixture: Mixture, datasets: Sequence[str]) -> _Point:
    return tuple(mixture.shares.get(name, 0.0) for name in datasets)


def _trained(
    source: Path, like: ScoreLine, seed: int | None, datasets: Sequence[str]
) -> list[tuple[_Point, ScoreLine]]:
    """Find what was trained on two or more of these datasets, and scored as `like` was."""
    asked: dict[str, object] = {
        "origin": "trained", "split": like.split, "task": like.task, "metric": like.metric, "seed": seed,
        "version": like.version or None,
    }  # fmt: skip
    found = []
    for row in rows_of(source, asked, several=("seed",)):
        mixture = _mixture(source, row)
        if len(mixture.members) < 2 or not set(mixture.members) <= set(datasets):
            continue
        for column in ("higher_is_better", "count"):
            ours, theirs = (getattr(each, column) for each in (like, row))
            if ours != theirs:
                raise InputError(
                    f"{source}, line {row.line}: {column} is {theirs}, of the merged scores {ours}: the two "
                    "cannot be compared"
                )
        found.append((_point(mixture, datasets), row))
    return found


def _merged_pairs(
    table: Path,
    rows: Mapping[_Point, ScoreLine],
    pairs: Sequence[tuple[_Point, ScoreLine]],
    source: Path,
    datasets: tuple[str, ...],
) -> list[ScoreLine]:
    """Return the merged score of each trained pair."""
    for point, row in pairs:
        if point not in rows:
            raise InputError(
                f"{table} has no merged score of {Mixture(datasets, point).label!r}, which was trained "
                f"({source}, line {row.line}): score it too, or take it out there"
            )
    return [rows[point] for point, _ in pairs]


def _check(
    corrected: Mapping[_Point, ScoreLine], trained: Sequence[tuple[_Point, ScoreLine]]
) -> PairCheck | None:
    larger = [
        (corrected[point], row)
        for point, row in trained
        if np.count_nonzero(point) > 2 and point in corrected
    ]
    if not larger:
        return None
    errors = (
        [ours.value - row.value for ours, row in larger],
        [ours.score - row.value for ours, row in larger],
    )
    return PairCheck(len(larger), *(float(np.sqrt(np.mean(np.square(each)))) for each in errors))


def _gains_by_example(
    trained: tuple[Path, Sequence[ScoreLine]], merged: tuple[Path, Sequence[ScoreLine]]
) -> Floats | None:
    """Return trained minus merged score by example [P, E]; None unless known of all pairs."""
    sides = [[examples_of(path, row) for row in rows] for path, rows in (trained, merged)]
    if any(examples is None for side in sides for examples in side):
        return None
    above, below = (np.array(side, dtype=np.float64) for side in sides)
    return above - below
