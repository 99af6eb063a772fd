"""`m2m select`: the best candidate of a table of scores, and by how much it leads the runner-up."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from m2m.errors import InputError
from m2m.support.arguments import argument
from m2m.support.checked import checked
from m2m.support.csv_tables import number, read_rows
from m2m.support.schema import did_you_mean, repeated

#: Columns that `select` reads; a table may have more.
COLUMNS = ("candidate", "members", "origin", "seed", "task", "split", "metric", "value", "higher_is_better")
#: What it reads where a table has it.
_OPTIONAL = ("version", "count")
#: Columns that tell scores apart that must not be compared; arguments of these names say which are meant.
_CHOSEN = ("origin", "split", "task", "metric", "seed", "version")
#: How tables say whether higher is better: as m2m, SQLite and spreadsheets write it.
_DIRECTIONS = {"true": True, "1": True, "false": False, "0": False}
#: Two-sided 95 % of the standard normal distribution.
Z95 = NormalDist().inv_cdf(0.975)
#: Largest relative difference between a score in the CSV and the mean of its examples: spreadsheets write
#: 15 digits.
ROUNDED = 1e-9

_Row = dict[str, Any]


@dataclass(frozen=True)
class Lead:
    """By how much a pick leads, over the same examples.

    Attributes:
        value: Mean of pick − other, in the metric's unit.
        low: Lower end of its 95 % interval (normal theory).
        high: Upper end; an interval that contains 0 cannot tell the two apart.
        n: Number of examples.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class RunnerUp:
    """The second best candidate, and how far it is behind where per-example values are known."""

    candidate: str
    value: float
    difference: Lead | None


@dataclass(frozen=True)
class Selection:
    """The best candidate of a table.

    Attributes:
        picked: Its name.
        members: Its datasets.
        value: Its score.
        task: The task that it is best on.
        split: The split.
        metric: The metric.
        higher_is_better: Its direction.
        candidates: How many were compared.
        ties: How many others have exactly its score.
        runner_up: The next best; None if there is no other.
    """

    picked: str
    members: Sequence[str]
    value: float
    task: str
    split: str
    metric: str
    higher_is_better: bool
    candidates: int
    ties: int
    runner_up: RunnerUp | None


@checked()
def select(
    table: str | Path,
    *,
    task: str | None = None,
    metric: str | None = None,
    split: str = "validation",
    origin: str = "merged",
    version: str | None = None,
    seed: int | None = None,
) -> Selection:
    """Pick the best candidate of a table of scores, and say by how much it leads the runner-up.

    Every ambiguity is settled by an argument or refused; nothing is averaged or taken by chance. Ties go to
    fewer datasets, then to the table's order.

    Args:
        table: CSV file of `m2m.score`, or a run folder; per-example values are taken from the SQLite file
            beside it.
        task: The task or target; needed if the table has several.
        metric: The metric; needed if the table has several.
        split: The split.
        origin: Whose scores: of `merged` or of `trained` models.
        version: The task's version; needed if the table has scores from before and after a change of it.
        seed: Training seed of trained models; needed if there are several.

    Returns:
        The pick.

    Raises:
        InputError: If the file is no such table, does not have what is asked for, or has several of it.
    """  # noqa: DOC502 - raised by what is called
    table = _table(Path(table))
    asked = {
        "origin": origin,
        "split": split,
        "task": task,
        "metric": metric,
        "seed": seed,
        "version": version,
    }
    rows = _rows(table, asked)
    best, *others = _ranked(rows)
    return Selection(
        picked=best["candidate"],
        members=best["members"],
        **{key: best[key] for key in ("value", "task", "split", "metric", "higher_is_better")},
        candidates=len(rows),
        ties=sum(row["value"] == best["value"] for row in others),
        runner_up=_runner_up(table, best, others[0]) if others else None,
    )


def _table(path: Path) -> Path:
    # A run folder stands for its table.
    if not path.is_dir():
        return path
    if not (path / "scores.csv").is_file():
        raise InputError(
            f"{path} has no scores.csv; wanted a run folder, or the table that `m2m score` writes"
        )
    return path / "scores.csv"


def paired_lead(best: Sequence[float], other: Sequence[float]) -> Lead:
    """Estimate two models' mean difference over the same examples, with a 95 % interval: [E], [E]."""
    differences = [a - b for a, b in zip(best, other, strict=True)]
    mean = fmean(differences)
    half = Z95 * stdev(differences) / math.sqrt(len(differences))
    return Lead(mean, mean - half, mean + half, len(differences))


def _ranked(rows: Sequence[_Row]) -> list[_Row]:
    sign = -1 if rows[0]["higher_is_better"] else 1
    return sorted(rows, key=lambda row: (sign * row["value"], len(row["members"])))


def _rows(table: Path, asked: Mapping[str, object]) -> list[_Row]:
    there: dict[str, set[str]] = {column: set() for column in _CHOSEN}
    rows = _asked_for(table, asked, there)
    for column in _CHOSEN:
        if asked[column] is None:
            several = sorted({row[column] for row in rows})
            if len(several) > 1:
                raise InputError(
                    f"{table} has several {column}s, say {argument(column)} with one of {several}"
                )
        elif not there[column]:
            raise InputError(f"{table} has no scores")
        elif str(asked[column]) not in there[column]:
            known = sorted(there[column])
            hint = did_you_mean(str(asked[column]), known)
            raise InputError(f"{table} has no {column} {asked[column]!r}{hint}; it has {known}")
    _check_alike(table, rows)
    return rows


def _asked_for(path: Path, asked: Mapping[str, object], there: Mapping[str, set[str]]) -> list[_Row]:
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
            rows.append(_typed(f"{path}, line {line}", row))
    return rows


def _check_alike(path: Path, rows: Sequence[_Row]) -> None:
    # What differs between rows that are compared would make the comparison wrong.
    twice = repeated(row["candidate"] for row in rows)
    if twice is not None:
        raise InputError(f"{path} has more than one score of {twice!r}: experts or device were not the same")
    for column, what in (("higher_is_better", "directions"), ("count", "numbers of examples")):
        values = {row[column]: row["candidate"] for row in rows}
        if len(values) > 1:
            said = ", ".join(f"{value} for {candidate!r}" for value, candidate in values.items())
            raise InputError(f"{path}: scores of different {what} cannot be compared: {column} is {said}")


def _typed(where: str, row: Mapping[str, str]) -> _Row:
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
    kept = {column: sys.intern(row.get(column, "")) for column in (*COLUMNS, *_OPTIONAL)}
    return {**kept, "value": value, "members": members, "higher_is_better": better}


def _runner_up(table: Path, best: _Row, other: _Row) -> RunnerUp:
    first, second = (_examples(table, row) for row in (best, other))
    lead = paired_lead(first, second) if first is not None and second is not None and len(first) > 1 else None
    return RunnerUp(other["candidate"], other["value"], lead)


def _examples(table: Path, row: _Row) -> list[float] | None:
    database = table.with_suffix(".sqlite")
    if not database.exists():
        return None
    from m2m.scoring.table import ScoreTable

    keys = ("candidate", "origin", "task", "split", "metric", *(["version"] if row["version"] else []))
    seed = int(row["seed"]) if row["seed"] else None
    with ScoreTable(database, read_only=True) as scores:
        found = scores.rows(**{key: row[key] for key in keys}, seed=seed)
    if len(found) != 1:
        return None
    if not math.isclose(found[0].value, row["value"], rel_tol=ROUNDED):
        raise InputError(
            f"{table} says {row['value']} for {row['candidate']!r}, but the examples in {database.name} have "
            f"the mean {found[0].value}: the table was edited; the command that made it writes it again"
        )
    return [float(value) for value in found[0].examples]
