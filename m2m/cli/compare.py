"""Lay runs side by side: what differs in configuration, picks, test scores, the same mixtures' scores, cost.

Of mixtures that two runs or more have merged or trained, the validation scores stand in a row: a dozen a
target, trained ones first; --json has them all. A run that has not finished has what it has so far.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m2m.pipeline.compare import Comparison

HELP = "lay runs side by side"
#: What stands in a cell where a run has nothing.
_NOTHING = "–"
#: Mixtures of a target that are printed.
_MOST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, two or more")


def execute(args: argparse.Namespace) -> int:
    """Compare, and print one table."""
    from m2m.cli.output import print_json, print_notes, print_table
    from m2m.pipeline.compare import compare

    found = compare(args.runs)
    if not args.quiet:
        print_notes(found.notes)
    if args.json:
        print_json(found.to_json())
    elif not args.quiet:
        wide = 1 + len(found.runs)
        print_table([["", *found.runs], *(line + [""] * (wide - len(line)) for line in _lines(found))])
    return 0


def _lines(found: Comparison) -> Iterator[list[str]]:
    from m2m.support.units import format_seconds

    if not found.configuration:
        yield ["configurations are the same"]
    yield from _part("configuration, where it differs", found.configuration, str)
    yield from _part("chosen", found.picks, str)
    yield from _part("test split", found.test, _score)
    for target, rows in found.mixtures.items():
        shown = dict(sorted(rows.items(), key=lambda item: item[0].endswith(", merged"))[:_MOST])
        yield from _part(f"validation on {target}, {found.metrics[target]}", shown, _score)
        if len(shown) < len(rows):
            yield [f"  and {len(rows) - len(shown)} more: --json"]
    yield from _part("wall time", found.cost, format_seconds)


def _part(title: str, rows: Mapping[str, list[Any]], write: Callable[[Any], str]) -> Iterator[list[str]]:
    if rows:
        yield [title]
    for name, row in rows.items():
        yield [f"  {name}", *(_NOTHING if value is None else write(value) for value in row)]


def _score(value: float) -> str:
    return f"{value:.4g}"
