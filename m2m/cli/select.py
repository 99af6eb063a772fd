"""Pick the best candidate of a table of scores, and say by how much it leads the runner-up.

Where per-example values are known (the SQLite file beside the CSV), the lead comes with a 95 % interval from
paired differences; one that contains 0 says that these examples cannot tell the two apart.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from m2m.command_line import add_seed
from m2m.config_keys import did_you_mean
from m2m.errors import InputError

HELP = "pick the best candidate of a table of scores"

#: Columns that `select` reads; a table may have more.
COLUMNS = ("candidate", "members", "origin", "seed", "task", "split", "metric", "value", "higher_is_better")
#: Two-sided 95 % of the standard normal distribution.
Z95 = NormalDist().inv_cdf(0.975)


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
        "members": json.loads(best["members"]),
        **{key: best[key] for key in ("value", "task", "split", "metric", "higher_is_better")},
        "candidates": len(rows),
        "runner_up": _lead(args.table, best, others[0]) if others else None,
    }
    if args.json:
        print_json(outcome)
    else:
        _tell(outcome)
    return 0


def rank(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order candidates: best value first; ties go to fewer datasets, then to the table's order.

    Args:
        rows: Scores of one metric on one task. [M]

    Returns:
        The rows, the pick first. [M]
    """
    sign = -1 if rows[0]["higher_is_better"] else 1
    return sorted(rows, key=lambda row: (sign * row["value"], len(json.loads(row["members"]))))


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


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    # Every ambiguity is settled by an option or refused; nothing is averaged or taken by chance.
    rows = _read(args.table)
    for column in ("origin", "split"):
        rows = _only(args.table, rows, column, getattr(args, column))
    for column in ("task", "metric", "seed"):
        chosen = getattr(args, column)
        rows = _only(
            args.table, rows, column, _the_one(args.table, rows, column) if chosen is None else str(chosen)
        )
    names = [row["candidate"] for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{args.table} has more than one score of {twice[0]!r}: experts or device were not the same"
        )
    return rows


def _only(table: Path, rows: list[dict[str, Any]], column: str, value: str) -> list[dict[str, Any]]:
    there = sorted({row[column] for row in rows})
    if value not in there:
        raise InputError(f"{table} has no {column} {value!r}{did_you_mean(value, there)}; it has {there}")
    return [row for row in rows if row[column] == value]


def _the_one(table: Path, rows: list[dict[str, Any]], column: str) -> str:
    there = sorted({row[column] for row in rows})
    if len(there) > 1:
        raise InputError(f"{table} has several {column}s, say --{column} with one of {there}")
    return str(there[0])


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            header, rows = table.fieldnames or (), list[dict[str, Any]](table)
    except OSError as error:
        raise InputError(f"cannot read the table of scores {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV file: {error}") from None
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise InputError(f"{path} is not a table of scores: it has no column {missing[0]!r}")
    if not rows:
        raise InputError(f"{path} has no scores")
    return [_typed(f"{path}, line {line}", row) for line, row in enumerate(rows, start=2)]


def _typed(where: str, row: dict[str, Any]) -> dict[str, Any]:
    try:
        value = float(row["value"])
        members = json.loads(row["members"])
    except (TypeError, ValueError):
        raise InputError(f"{where}: wanted a number in `value` and a JSON list in `members`") from None
    if not math.isfinite(value) or not isinstance(members, list):
        raise InputError(
            f"{where}: wanted a finite `value` and a list of `members`, got {value}, {members!r}"
        )
    return {**row, "value": value, "higher_is_better": row["higher_is_better"] in {"True", "1"}}


def _lead(table: Path, best: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the runner-up and, where per-example values are known, how far it is behind."""
    lead = {"candidate": other["candidate"], "value": other["value"]}
    examples = [_examples(table.with_suffix(".sqlite"), row) for row in (best, other)]
    if (
        examples[0] is None
        or examples[1] is None
        or len(examples[0]) < 2
        or len(examples[0]) != len(examples[1])
    ):
        return lead
    mean, low, high = paired_lead(examples[0], examples[1])
    return {**lead, "difference": {"value": mean, "low": low, "high": high, "n": len(examples[0])}}


def _examples(database: Path, row: dict[str, Any]) -> list[float] | None:
    if not database.exists():
        return None
    from m2m.surrogate import ScoreTable

    keys = ("candidate", "origin", "task", "split", "metric")
    seed = int(row["seed"]) if row["seed"] else None
    with ScoreTable(database) as scores:
        found = scores.rows(**{key: row[key] for key in keys}, seed=seed)
    return found[0].examples.tolist() if len(found) == 1 else None


def _tell(outcome: dict[str, Any]) -> None:
    direction = "higher" if outcome["higher_is_better"] else "lower"
    where = f"{outcome['metric']} on {outcome['task']} ({outcome['split']}, {direction} is better)"
    print(f"picked: {outcome['picked']}")
    print(f"{where}: {outcome['value']:.6g}, best of {outcome['candidates']}")
    other = outcome["runner_up"]
    if other is None:
        return
    print(f"runner-up: {other['candidate']}, {other['value']:.6g}")
    if "difference" in other:
        d = other["difference"]
        verdict = "" if d["low"] > 0 or d["high"] < 0 else ": these examples cannot tell the two apart"
        interval = f"{d['value']:+.3g} [{d['low']:+.3g}, {d['high']:+.3g}]"
        print(f"paired difference: {interval}, {d['n']} examples{verdict}")
