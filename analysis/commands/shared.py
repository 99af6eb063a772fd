"""Options and output that all commands share: the same words everywhere."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from m2m.support.command_line import natural


def add_shared_arguments(
    parser: argparse.ArgumentParser, *, default_out: str = "", seed_of: str = ""
) -> None:
    """Add `--out` and `--seed`.

    Args:
        parser: The verb's parser.
        default_out: What `--out` is unless given; required if empty.
        seed_of: What `--seed` is the seed of; no such option if empty.
    """
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


def check_results(args: argparse.Namespace, beginning: str, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write results where they cannot be written, or over what is read, before any work is done.

    Args:
        args: The parsed options.
        beginning: How the names of the files begin that will be written.
        inputs: Files and folders of models that are read.
    """
    from m2m.support.outputs import check_outputs, results_in

    check_outputs(results_in(f"--out {args.out}", args.out, beginning), inputs=inputs)


def shown(value: float | None, form: str) -> str:
    """Write a number for people.

    Args:
        value: The number.
        form: How to format it.

    Returns:
        The text; a dash of the same width where it is not there.
    """
    if value is not None and math.isfinite(value):
        return format(value, form)
    return "–".rjust(len(format(0.0, form)))


def report(
    args: argparse.Namespace,
    summary: Mapping[str, Any],
    sentences: list[str],
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print what was found, for people or for programs.

    Args:
        args: The parsed options.
        summary: What programs get, besides the folder.
        sentences: What people get, a line each.
        reasons: Why numbers may not be there, by field.
    """
    from analysis.results import explained

    content = explained({"out": str(args.out), **summary}, reasons)
    line = json.dumps(content, ensure_ascii=False, allow_nan=False)
    if args.json:
        print(line)
    elif not args.quiet:
        print("\n".join([*sentences, f"written to {args.out}"]))
