"""Options and output that all commands share: the same words everywhere."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m2m.command_line import natural


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


def report(args: argparse.Namespace, summary: Mapping[str, Any], sentences: list[str]) -> None:
    """Print what was found, for people or for programs.

    Args:
        args: The parsed options.
        summary: What programs get, besides the folder.
        sentences: What people get, a line each.
    """
    from analysis.results import plain

    line = json.dumps(plain({"out": str(args.out), **summary}), ensure_ascii=False)
    if args.json:
        print(line)
    elif not args.quiet:
        print("\n".join([*sentences, f"written to {args.out}"]))
