"""Options and output that all commands share: the same words everywhere."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_shared_arguments(
    parser: argparse.ArgumentParser, *, default_out: str = "", seed_of: str = ""
) -> None:
    """Add `--out`, `--seed` and `--json`.

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
            type=_seed,
            default=0,
            metavar="S",
            help=f"seed of {seed_of} (default %(default)s)",
        )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 0, got {text!r}")
    return int(text)


def report(args: argparse.Namespace, summary: Mapping[str, Any], sentences: list[str]) -> None:
    """Print what was found, for people or for programs.

    Args:
        args: The parsed options.
        summary: What programs get, besides the folder.
        sentences: What people get, a line each.
    """
    from analysis.results import plain

    line = json.dumps(plain({"out": str(args.out), **summary}), ensure_ascii=False)
    print(line if args.json else "\n".join([*sentences, f"written to {args.out}"]))
