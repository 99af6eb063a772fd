"""Options and output that commands share: the same words everywhere."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.support.shared_options import natural

if TYPE_CHECKING:
    from analysis.studies import Outcome


def add_shared_arguments(
    parser: argparse.ArgumentParser, *, default_out: str = "", seed_of: str = ""
) -> None:
    """Add `--out` and `--seed`."""
    where = f"where to write (default: {default_out})" if default_out else "where to write"
    parser.add_argument("--out", type=Path, required=not default_out, metavar="DIR", help=where)
    if seed_of:
        parser.add_argument(
            "--seed",
            type=natural,
            default=0,
            metavar="S",
            help=f"seed of {seed_of} (default %(default)s)",
        )


def add_run_arguments(parser: argparse.ArgumentParser, examples: int, note: str = "") -> None:
    """Add what the studies of a run's models take; `note` says when `examples` is another number."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with trained experts")
    parser.add_argument("--target", metavar="NAME", help="target whose loss is used (default: the run's)")
    parser.add_argument(
        "--examples",
        type=natural,
        default=None if note else examples,
        metavar="E",
        help=f"examples of every dataset and target, at even distances; 0 for all (default {examples}{note})",
    )
    parser.add_argument(
        "--float32", action="store_true", help="compute in the model's precision, not float64"
    )
    add_shared_arguments(parser)


def shown(value: float | None, form: str) -> str:
    """Write a number for people; a dash of the same width where it is not there."""
    if value is not None and math.isfinite(value):
        return format(value, form)
    return "–".rjust(len(format(0.0, form)))


def report(
    args: argparse.Namespace, outcome: Outcome[Any], summary: Mapping[str, Any], lines: list[str]
) -> None:
    """Print what was found: a summary for programs, a line each for people."""
    from analysis.results import explained

    if args.json:
        content = explained({"out": str(outcome.out), **summary}, outcome.reasons)
        print(json.dumps(content, ensure_ascii=False, allow_nan=False))
    elif not args.quiet:
        print("\n".join([*lines, f"written to {outcome.out}"]))
