"""Rows of a table of scores: read, and held to each other, so that nothing is compared that must not be."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from m2m.errors import InputError
from m2m.support.arguments import argument
from m2m.support.csv_tables import number, read_rows
from m2m.support.schema import did_you_mean, repeated, repeated_at

#: Columns that are read; a table may have more.
COLUMNS = ("candidate", "members", "origin", "seed", "task", "split", "metric", "value", "higher_is_better")
#: Columns that tell scores apart that must not be compared; arguments of these names say which are meant.
_CHOSEN = ("origin", "split", "task", "metric", "seed", "version")
#: How tables say whether higher is better: as m2m, SQLite and spreadsheets write it.
_DIRECTIONS = {"true": True, "1": True, "false": False, "0": False}
#: Largest relative difference between a score in the CSV and the mean of its examples: spreadsheets write
#: 15 digits.
_ROUNDED = 1e-9


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One row of a table of scores, as its columns have it; `line` is where it stands.

    Attributes:
        weights: A JSON object of weights by dataset, empty where the table has no such column.
        added: What was added to the score that the table has.
    """

    line: int
    candidate: str
    members: list[str]
    weights: str
    origin: str
    seed: str
    task: str
    split: str
    version: str
    metric: str
    count: str
    value: float
    higher_is_better: bool
    added: float = 0.0

    @property
    def score(self) -> float:
        """What the candidate is compared by."""
        return self.value + self.added


def table_of(path: Path) -> Path:
    """Return the table that a run folder stands for, or the path itself."""
    if not path.is_dir():
        return path
    if not (path / "scores.csv").is_file():
        raise InputError(
            f"{path} has no scores.csv; wanted a run folder, or the table that `m2m score` writes"
        )
    return path / "scores.csv"


def rows_of(table: Path, asked: Mapping[str, object], several: Collection[str] = ()) -> list[ScoreLine]:
    """Read the rows that are asked for, in the table's order.

    Args:
        table: The CSV file.
        asked: The value that each of `origin`, `split`, `task`, `metric`, `seed` and `version` must have;
            None if there is only one; of `metric`, for the headline metric.
        several: Those of which there may be several all the same.

    Returns:
        At least one row.

    Raises:
        InputError: If the file is no such table, does not have what is asked for, or has several of it.
    """
    there: dict[str, set[str]] = {column: set() for column in _CHOSEN}
    rows = _asked_for(table, asked, there)
    for column in _CHOSEN:
        if asked[column] is None:
            rows = _headline_only(table, rows) if column == "metric" else rows
            found = sorted({getattr(row, column) for row in rows})
            if len(found) > 1 and column not in several:
                raise InputError(f"{table} has several {column}s, say {argument(column)} with one of {found}")
        elif not there[column]:
            raise InputError(f"{table} has no scores")
        elif str(asked[column]) not in there[column]:
            known = sorted(there[column])
            hint = did_you_mean(str(asked[column]), known)
            raise InputError(f"{table} has no {column} {asked[column]!r}{hint}; it has {known}")
    _check_alike(table, rows)
    return rows


def _headline_only(table: Path, rows: list[ScoreLine]) -> list[ScoreLine]:
    """Narrow rows of one task to its headline metric, where the SQLite file beside the table knows it."""
    database = table.with_suffix(".sqlite")
    if len({row.metric for row in rows}) < 2 or not database.exists():
        return rows
    from m2m.scoring.table import ScoreTable

    with ScoreTable(database, read_only=True) as scores:
        headline = scores.headline(task=rows[0].task, split=rows[0].split)
    return [row for row in rows if row.metric == headline] or rows


def _asked_for(path: Path, asked: Mapping[str, object], there: Mapping[str, set[str]]) -> list[ScoreLine]:
    # The rows that the options name, and what the rows had that came so far: a table can have a million rows.
    rows = []
    for line, row in read_rows(path, "the table of scores"):
        missing = [column for column in COLUMNS if column not in row]
        if missing:
            raise InputError(f"{path} is not a table of scores: it has no column {missing[0]!r}")
        for column, values in there.items():
            value = row.get(column, "")
            values.add(value)
            if asked[column] is not None and value != str(asked[column]):
                break
        else:
            rows.append(_typed(f"{path}, line {line}", line, row))
    return rows


def _check_alike(path: Path, rows: Sequence[ScoreLine]) -> None:
    # What differs between rows that are compared would make the comparison wrong.
    twice = repeated_at((row.candidate, row.seed) for row in rows)
    if twice is not None:
        first, second = (rows[place] for place in twice)
        raise InputError(
            f"{path}, lines {first.line} and {second.line}: two scores of {first.candidate!r}; experts or "
            "device were not the same: take one out"
        )
    for column, what in (("higher_is_better", "directions"), ("count", "numbers of examples")):
        values = {getattr(row, column): row for row in rows}
        if len(values) > 1:
            said = ", ".join(
                f"{value} for {row.candidate!r} (line {row.line})" for value, row in values.items()
            )
            raise InputError(f"{path}: scores of different {what} cannot be compared: {column} is {said}")


def _typed(where: str, line: int, row: Mapping[str, str]) -> ScoreLine:
    try:
        value = number(row["value"])
        members = json.loads(row["members"])
        if row["seed"]:
            int(row["seed"])
    except (ValueError, RecursionError):
        raise InputError(
            f"{where}: wanted a number in `value`, a JSON list in `members`, and in `seed` a whole number or "
            "nothing"
        ) from None
    if not math.isfinite(value) or not isinstance(members, list) or repeated(map(str, members)) is not None:
        raise InputError(
            f"{where}: wanted a finite `value` and a list of different `members`, got {value}, {members!r}"
        )
    better = _DIRECTIONS.get(row["higher_is_better"].lower())
    if better is None:
        raise InputError(
            f"{where}: `higher_is_better` must be True or False, got {row['higher_is_better']!r}"
        )

    def text(column: str) -> str:
        return sys.intern(row.get(column, ""))

    return ScoreLine(
        line, text("candidate"), members, text("weights"), text("origin"), text("seed"), text("task"),
        text("split"), text("version"), text("metric"), text("count"), value, better,
    )  # fmt: skip


def examples_of(table: Path, row: ScoreLine) -> list[float] | None:
    """Return every example's score [E] from the SQLite file beside the table; None where there is none.

    Raises:
        InputError: If their mean is not the score in the table.
    """
    database = table.with_suffix(".sqlite")
    if not database.exists():
        return None
    from m2m.scoring.table import ScoreTable

    keys = ("candidate", "origin", "task", "split", "metric", *(["version"] if row.version else []))
    seed = int(row.seed) if row.seed else None
    with ScoreTable(database, read_only=True) as scores:
        found = scores.rows(**{key: getattr(row, key) for key in keys}, seed=seed)
    if len(found) != 1:
        return None
    if not math.isclose(found[0].value, row.value, rel_tol=_ROUNDED):
        raise InputError(
            f"{table} says {row.value} for {row.candidate!r}, but the examples in {database.name} have "
            f"the mean {found[0].value}: the table was edited; the command that made it writes it again"
        )
    return [float(value) for value in found[0].examples]
