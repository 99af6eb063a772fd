"""Pick the best candidate of a table of scores, and say by how much it leads the runner-up.

Where per-example values are known (the SQLite file beside the CSV), the lead comes with a 95 % interval from
paired differences; one that contains 0 says that these examples cannot tell the two apart.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from m2m.errors import InputError
from m2m.support.command_line import add_seed
from m2m.support.csv_tables import number, read_rows
from m2m.support.schema import did_you_mean, repeated

HELP = "pick the best candidate of a table of scores"

#: Columns that `select` reads; a table may have more.
COLUMNS = ("candidate", "members", "origin", "seed", "task", "split", "metric", "value", "higher_is_better")
#: What it reads where a table has it.
_OPTIONAL = ("version", "count")
#: Columns that tell scores apart that must not be compared, and the option that settles which are meant.
_CHOSEN = {
    "origin": "--origin", "split": "--split", "task": "--task", "metric": "--metric", "seed": "--seed",
    "version": "--task-version",
}  # fmt: skip
#: How tables say whether higher is better: as m2m, SQLite and spreadsheets write it.
_DIRECTIONS = {"true": True, "1": True, "false": False, "0": False}
#: Two-sided 95 % of the standard normal distribution.
Z95 = NormalDist().inv_cdf(0.975)
#: Largest relative difference between a score in the CSV and the mean of its examples: spreadsheets write
#: 15 digits.
ROUNDED = 1e-9

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb.

    Args:
        parser: The verb's parser.
    """
    parser.add_argument("table", type=Path, metavar="SCORES.csv", help="a table of `m2m score` or `m2m run`")
    parser.add_argument("--metric", metavar="M", help="the metric (needed if the table has several)")
    parser.add_argument("--task", metavar="T", help="the task or target (needed if the table has several)")
    parser.add_argument("--split", default="validation", metavar="S", help="the split (default: %(default)s)")
    parser.add_argument(
        "--origin",
        default="merged",
        choices=["merged", "trained"],
        help="whose scores (default: %(default)s)",
    )
    parser.add_argument(
        "--task-version",
        dest="version",
        metavar="V",
        help="the task's version (needed if the table has scores from before and after a change of the task)",
    )
    add_seed(parser, "training seed of trained models, if there are several")


def execute(args: argparse.Namespace) -> int:
    """Pick a candidate.

    Args:
        args: The parsed options.

    Returns:
        The exit code.
    """
    from m2m.cli.output import print_json

    rows = _rows(args)
    best, *others = rank(rows)
    outcome = {
        "picked": best["candidate"],
        "members": best["members"],
        **{key: best[key] for key in ("value", "task", "split", "metric", "higher_is_better")},
        "candidates": len(rows),
        "ties": sum(row["value"] == best["value"] for row in others),
        "runner_up": _lead(args.table, best, others[0]) if others else None,
    }
    if args.json:
        print_json(outcome)
    else:
        _tell(outcome)
    return 0


def rank(rows: Sequence[Row]) -> list[Row]:
    """Order candidates: best value first; ties go to fewer datasets, then to the table's order.

    Args:
        rows: Scores of one metric on one task. [M]

    Returns:
        The rows, the pick first. [M]
    """
    sign = -1 if rows[0]["higher_is_better"] else 1
    return sorted(rows, key=lambda row: (sign * row["value"], len(row["members"])))


def paired_lead(best: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Estimate two models' mean difference over the same examples, with a 95 % interval (normal theory).

    Args:
        best: Values of one model. [E]
        other: Values of the other on the same examples. [E]

    Returns:
        Mean of best − other, and the lower and upper end of the interval, in the metric's unit.
    """
    differences = [a - b for a, b in zip(best, other, strict=True)]
    mean = fmean(differences)
    half = Z95 * stdev(differences) / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def _rows(args: argparse.Namespace) -> list[Row]:
    # Every ambiguity is settled by an option or refused; nothing is averaged or taken by chance.
    asked = {column: getattr(args, column) for column in _CHOSEN}
    there: dict[str, set[str]] = {column: set() for column in _CHOSEN}
    rows = _asked_for(args.table, asked, there)
    for column, option in _CHOSEN.items():
        if asked[column] is None:
            several = sorted({row[column] for row in rows})
            if len(several) > 1:
                raise InputError(f"{args.table} has several {column}s, say {option} with one of {several}")
        elif not there[column]:
            raise InputError(f"{args.table} has no scores")
        elif str(asked[column]) not in there[column]:
            known = sorted(there[column])
            hint = did_you_mean(str(asked[column]), known)
            raise InputError(f"{args.table} has no {column} {asked[column]!r}{hint}; it has {known}")
    _check_alike(args.table, rows)
    return rows


def _asked_for(path: Path, asked: Mapping[str, object], there: Mapping[str, set[str]]) -> list[Row]:
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


def _check_alike(path: Path, rows: Sequence[Row]) -> None:
    # What differs between rows that are compared would make the comparison wrong.
    twice = repeated(row["candidate"] for row in rows)
    if twice is not None:
        raise InputError(f"{path} has more than one score of {twice!r}: experts or device were not the same")
    for column, what in (("higher_is_better", "directions"), ("count", "numbers of examples")):
        values = {row[column]: row["candidate"] for row in rows}
        if len(values) > 1:
            said = ", ".join(f"{value} for {candidate!r}" for value, candidate in values.items())
            raise InputError(f"{path}: scores of different {what} cannot be compared: {column} is {said}")


def _typed(where: str, row: Mapping[str, str]) -> Row:
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


def _lead(table: Path, best: Row, other: Row) -> dict[str, Any]:
    """Return the runner-up and, where per-example values are known, how far it is behind."""
    lead = {"candidate": other["candidate"], "value": other["value"]}
    first, second = (_examples(table, row) for row in (best, other))
    if first is None or second is None or len(first) < 2:
        return lead
    mean, low, high = paired_lead(first, second)
    return {**lead, "difference": {"value": mean, "low": low, "high": high, "n": len(first)}}


def _examples(table: Path, row: Row) -> list[float] | None:
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


def _tell(outcome: dict[str, Any]) -> None:
    direction = "higher" if outcome["higher_is_better"] else "lower"
    where = f"{outcome['metric']} on {outcome['task']} ({outcome['split']}, {direction} is better)"
    print(f"picked: {outcome['picked']}")
    print(f"{where}: {outcome['value']:.6g}, best of {outcome['candidates']}")
    if outcome["ties"]:
        ties = "1 other has" if outcome["ties"] == 1 else f"{outcome['ties']} others have"
        print(
            f"tied: {ties} exactly this value; the pick is the one with the fewest datasets, then the first"
        )
    other = outcome["runner_up"]
    if other is None:
        return
    print(f"runner-up: {other['candidate']}, {other['value']:.6g}")
    if "difference" in other:
        d = other["difference"]
        verdict = "" if d["low"] > 0 or d["high"] < 0 else ": these examples cannot tell the two apart"
        interval = f"{d['value']:+.3g} [{d['low']:+.3g}, {d['high']:+.3g}]"
        print(f"paired difference: {interval}, {d['n']} examples{verdict}")
