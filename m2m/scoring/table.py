"""The table of scores: one SQLite file, a row a model × task × split × metric, with every example's value."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from m2m.errors import InputError
from m2m.mixture import MergingWeights
from m2m.scoring.table_file import TableFile
from m2m.support.arrays import Floats
from m2m.support.csv_tables import write_frame

if TYPE_CHECKING:
    import pandas as pd

#: Where a scored model comes from.
ORIGINS = ("base", "merged", "trained")
#: Before the origin of a model that another one has taken the place of.
REPLACED = "replaced "

_TEXTS = ("key", "candidate", "origin", "task", "split", "version", "metric", "created")
#: What `add` makes sure of in every row, as SQL that is 1 where it holds.
_SOUND = f"""
{" AND ".join(f"typeof({column}) = 'text'" for column in _TEXTS)}
AND origin IN {(*ORIGINS, *(REPLACED + origin for origin in ORIGINS))}
AND typeof(seed) IN ('integer', 'null') AND typeof(value) = 'real' AND abs(value) < 9e999
AND higher_is_better IN (0, 1)
AND typeof(count) = 'integer' AND count BETWEEN 1 AND {2**48}
AND typeof(examples) = 'blob' AND precision IN (4, 8)
AND typeof(members) = 'text' AND CASE WHEN json_valid(members) THEN json_type(members) = 'array'
  AND NOT EXISTS (SELECT 1 FROM json_each(members) WHERE type <> 'text') END
AND typeof(weights) = 'text' AND CASE WHEN json_valid(weights) THEN json_type(weights) = 'object'
  AND NOT EXISTS (SELECT 1 FROM json_each(weights) WHERE type NOT IN ('real', 'integer')) END
"""
#: What a column may hold.
Value = str | int | float | None


class Measured(Protocol):
    """Per-example values by metric, as `m2m.scoring.Scores` has them."""

    @property
    def values(self) -> Mapping[str, Floats]:
        """Each metric's value of each example, by metric."""


@dataclass(frozen=True)
class ScoreRow:
    """One row of the table.

    Attributes:
        key: Content key of the model.
        candidate: The mixture's label, or `base`.
        members: Names of the mixture's datasets.
        weights: Weight by dataset name.
        origin: `base`, `merged` or `trained`.
        seed: Training seed of a trained model.
        task: Name of the task.
        split: `validation` or `test`.
        version: Content hash of the task.
        metric: Name of the metric.
        higher_is_better: Its direction.
        value: Mean over the examples.
        count: Number of examples E.
        examples: The examples' values. [E]
        created: When it was written, UTC, ISO 8601.
    """

    key: str
    candidate: str
    members: list[str]
    weights: dict[str, float]
    origin: str
    seed: int | None
    task: str
    split: str
    version: str
    metric: str
    higher_is_better: bool
    value: float
    count: int
    examples: Floats = field(repr=False, compare=False)
    created: str = field(compare=False)


#: The columns without examples' values.
_TOLD = [name for name in ScoreRow.__dataclass_fields__ if name != "examples"]


class ScoreTable:
    """Scores that are never lost: each is committed when it is added; several processes may add at once.

    Args:
        path: The SQLite file; made if it is not there.
        read_only: Whether it is only read: then it may also lie where nothing can be written.

    Raises:
        InputError: If the file is not a score table of this layout.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._alike: dict[tuple[str, ...], tuple[int, bool]] = {}
        self._file = TableFile(path, read_only=read_only)

    def __enter__(self) -> ScoreTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(
        self,
        key: str,
        mixture: MergingWeights | None,
        origin: str,
        seed: int | None,
        task: str,
        split: str,
        version: str,
        scores: Measured,
        metrics: Mapping[str, bool],
    ) -> None:
        """Write one model's scores on one task, a row a metric, all or none; rows that are there stay.

        Args:
            key: Content key of the model.
            mixture: What it was merged or trained from; None for the base model.
            origin: `base`, `merged` or `trained`.
            seed: Training seed, or None.
            task: Name of the task.
            split: `validation` or `test`.
            version: Content hash of the task.
            scores: Values by metric.
            metrics: Metric name to whether higher is better, the headline metric first.

        Raises:
            InputError: If the origin is unknown, or a metric has no values, no finite mean, or another
                direction or number of examples than it has for other models.
        """
        if origin not in ORIGINS:
            raise InputError(f"{self.path}: origin must be one of {', '.join(ORIGINS)}, got {origin!r}")
        weights = mixture.by_name if mixture else {}
        who = (key, mixture.label if mixture else "base", json.dumps(mixture.members if mixture else []))
        what = (json.dumps(weights), origin, seed, task, split, version)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = []
        for metric in sorted(scores.values, key=[*metrics].index):  # `headline` is the first that is written
            values = scores.values[metric]
            where = f"{self.path}: {who[1]}, {metric} on {task} ({split})"
            if not len(values):
                raise InputError(f"{where}: there are no values")
            with np.errstate(over="ignore", invalid="ignore"):
                mean, (blob, precision) = float(np.mean(values)), _packed(values)
            if not np.isfinite(mean):
                worst = int(np.argmax(np.abs(values)))
                raise InputError(f"{where}: the mean is {mean}, example {worst} is {values[worst]}")
            self._check_alike(where, (task, split, version, metric), (len(values), metrics[metric]))
            rows.append((*who, *what, metric, metrics[metric], mean, len(values), blob, precision, now))
        marks = ", ".join("?" * len(rows[0]))
        with self._file.changed() as connection:
            connection.executemany(f"INSERT OR IGNORE INTO scores VALUES ({marks})", rows)

    def _check_alike(self, where: str, what: tuple[str, ...], got: tuple[int, bool]) -> None:
        # Models are compared example by example: a version of a task has one list of them, and one direction.
        if what not in self._alike:
            query = "SELECT count, higher_is_better FROM scores WHERE task = ? AND split = ? AND version = ? "
            with self._file.asked() as connection:
                found = connection.execute(f"{query} AND metric = ? LIMIT 1", what).fetchone()
            self._alike[what] = (found[0], bool(found[1])) if found else got
        (count, better), (own, own_better) = self._alike[what], got
        if count != own:
            raise InputError(
                f"{where}: got {own} examples, other models have {count}; a task has the same for every model"
            )
        if better != own_better:
            said, other = ("higher" if each else "lower" for each in (own_better, better))
            raise InputError(f"{where}: {said} is better, but {other} for the models that are there")

    def has(self, key: str, task: str, split: str, version: str) -> bool:
        """Whether the model of a content key has scores on a task's split, in the task's version."""
        query = "SELECT 1 FROM scores WHERE key = ? AND task = ? AND split = ? AND version = ? LIMIT 1"
        with self._file.asked() as connection:
            return connection.execute(query, (key, task, split, version)).fetchone() is not None

    def versions(self) -> set[str]:
        """Return the versions of tasks that there are scores of."""
        with self._file.asked() as connection:
            return {row["version"] for row in connection.execute("SELECT DISTINCT version FROM scores")}

    def take_over(self, before: str, version: str) -> None:
        """Let the scores of an earlier version of the tasks, which are the same, be this version's.

        Args:
            before: The earlier version.
            version: This one; scores that it has already stay.
        """
        with self._file.changed() as connection:
            connection.execute("UPDATE OR IGNORE scores SET version = ? WHERE version = ?", (version, before))

    def set_aside(
        self, origin: str, versions: Collection[str], current: Mapping[tuple[str, int | None], str]
    ) -> None:
        """Keep the rows of models that others have taken the place of, but no longer as the candidate's.

        Their origin becomes `replaced ORIGIN`; a model that is current again gets its own back.

        Args:
            origin: `base`, `merged` or `trained`.
            versions: Content hashes of the current tasks.
            current: Content key of the current model by candidate and training seed.
        """
        query = "SELECT DISTINCT key, candidate, seed, version, origin FROM scores WHERE origin IN (?, ?)"
        with self._file.asked() as connection:
            found = connection.execute(query, (origin, REPLACED + origin)).fetchall()
        changes = []
        for row in found:
            key = current.get((row["candidate"], row["seed"]))
            stands = row["key"] == key and row["version"] in versions
            wanted = origin if stands else REPLACED + origin
            if key is not None and row["origin"] != wanted:
                changes.append((wanted, row["key"], row["version"], row["candidate"]))
        if changes:
            change = "UPDATE scores SET origin = ? WHERE key = ? AND version = ? AND candidate = ?"
            with self._file.changed() as connection:
                connection.executemany(change, changes)

    def rows(self, **equal: Value) -> list[ScoreRow]:
        """Read rows.

        Args:
            **equal: Column name to the value it must have; None finds rows without one.

        Returns:
            The rows by origin, seed, task, split, metric, then fewer datasets, then dataset order.
        """
        with self._file.asked() as connection:
            return [_row(found) for found in self._select(connection, "*", equal)]

    def distinct(self, column: str, **equal: Value) -> list[Value]:
        """List what a column holds, without reading the rows.

        Args:
            column: Its name.
            **equal: As for `rows`.

        Returns:
            The different values, ascending.

        Raises:
            InputError: If there is no such column.
        """
        if column not in ScoreRow.__dataclass_fields__:
            raise InputError(f"{self.path}: no column {column!r}")
        where = " AND ".join(f"{name} IS ?" for name in equal) or "1"
        query = f"SELECT DISTINCT {column} FROM scores WHERE {where} ORDER BY {column}"
        with self._file.asked() as connection:
            return [row[0] for row in connection.execute(query, tuple(equal.values()))]

    def headline(self, **equal: Value) -> str | None:
        """Return the metric that decides unless another is asked for: a task's first; None without rows."""
        where = " AND ".join(f"{name} IS ?" for name in equal) or "1"
        query = f"SELECT metric FROM scores WHERE {where} ORDER BY rowid LIMIT 1"
        with self._file.asked() as connection:
            found = connection.execute(query, tuple(equal.values())).fetchone()
        return None if found is None else str(found[0])

    def written(self, start: int) -> list[dict[str, Value]]:
        """Read rows in the order in which they were written, from a place on, as `frame()` has them."""
        query = f"SELECT {', '.join(_TOLD)} FROM scores ORDER BY rowid LIMIT -1 OFFSET ?"
        with self._file.asked() as connection:
            return [dict(row) for row in connection.execute(query, (start,)).fetchall()]

    def order(self, **equal: Value) -> dict[str, int]:
        """Return the place of each candidate among those that were written, by when its first row was."""
        where = " AND ".join(f"{name} IS ?" for name in equal) or "1"
        query = f"SELECT candidate FROM scores WHERE {where} GROUP BY candidate ORDER BY min(rowid)"
        with self._file.asked() as connection:
            found = connection.execute(query, tuple(equal.values())).fetchall()
        return {str(row[0]): place for place, row in enumerate(found)}

    def frame(self, **equal: Value) -> pd.DataFrame:
        """Read rows as a data frame: `ScoreRow` without examples' values; `members` and `weights` as JSON."""
        import pandas as pd

        with self._file.asked() as connection:
            records = [tuple(found) for found in self._select(connection, ", ".join(_TOLD), equal)]
        frame = pd.DataFrame.from_records(records, columns=_TOLD)
        return frame.astype({"seed": "Int64", "higher_is_better": bool})

    def export_csv(self, path: Path) -> None:
        """Write `frame()` as CSV; the file appears whole or not at all, in place of what is there."""
        write_frame(path, self.frame())

    def _check_rows(self, connection: sqlite3.Connection, where: str, values: tuple[Value, ...]) -> None:
        # SQLite keeps any type in any column; what is read is held to what `add` writes.
        query = f"SELECT rowid, candidate, task FROM scores WHERE ({where}) AND ({_SOUND}) IS NOT 1 LIMIT 1"
        damaged = connection.execute(query, values).fetchone()
        if damaged is not None:
            number, candidate, task = damaged
            raise InputError(
                f"{self.path} is damaged: row {number} ({candidate!r:.60} on {task!r:.60}) is not what m2m "
                "writes; delete the row and score that candidate again"
            )

    def _select(
        self, connection: sqlite3.Connection, columns: str, equal: Mapping[str, Value]
    ) -> list[sqlite3.Row]:
        known = self._file.columns
        unknown = sorted(set(equal) - set(known))
        if unknown:
            raise InputError(f"{self.path}: no columns {unknown}; there are {known}")
        where = " AND ".join(f"{column} IS ?" for column in equal) or "1"
        order = "origin, seed, task, split, metric, json_array_length(members), weights DESC, key"
        self._check_rows(connection, where, tuple(equal.values()))
        query = f"SELECT {columns} FROM scores WHERE {where} ORDER BY {order}"
        return connection.execute(query, tuple(equal.values())).fetchall()


def _packed(values: Floats) -> tuple[bytes, int]:
    with np.errstate(over="ignore"):  # what does not fit in single precision is not equal either
        single = values.astype("<f4")
    stored = single if np.array_equal(single, values) else values.astype("<f8")
    return zlib.compress(stored.tobytes()), stored.itemsize


def _unpacked(found: sqlite3.Row) -> Floats:
    # Never more than there should be: a few bytes can unpack to thousands of times as many.
    wanted = found["count"] * found["precision"]
    packed = zlib.decompressobj()
    content = packed.decompress(found["examples"], wanted + 1)
    if len(content) != wanted:
        raise ValueError(f"the values of {found['candidate']!r:.60} on {found['task']!r:.60} are cut off")
    return np.frombuffer(content, dtype=f"<f{found['precision']}").astype(np.float64)


def _row(found: sqlite3.Row) -> ScoreRow:
    values = {name: found[name] for name in ScoreRow.__dataclass_fields__}
    values["examples"] = _unpacked(found)
    values["members"], values["weights"] = json.loads(found["members"]), json.loads(found["weights"])
    values["higher_is_better"] = bool(found["higher_is_better"])
    return ScoreRow(**values)
