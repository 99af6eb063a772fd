"""Write a mixture the way a trainer reads it: a pick of m2m, a JSON file, or weights given here.

Shares are written with a fixed number of decimals that sum to exactly 1. axolotl knows no weights, only
how many rows of each dataset are read: it needs --total, and older versions of TRL do too.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from m2m.cli.words import pairs
from m2m.errors import ConfigError
from m2m.support.shared_options import add_out, positive

if TYPE_CHECKING:
    from m2m.exporting import Sources

HELP = "write a mixture for a trainer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    from m2m.exporting import FORMATS

    parser.add_argument(
        "mixture",
        metavar="MIXTURE",
        help="a folder of m2m run or m2m mix, a CSV file of m2m score or m2m search (its best), a JSON file "
        "{name: weight}, or weights like a=0.3,b=0.7",
    )
    parser.add_argument("--to", required=True, metavar="NAME", help=f"the format: {', '.join(FORMATS)}")
    add_out(parser, "the file to write")
    add_sources(parser, "its file, where MIXTURE is a run and its configuration names one, else its name")


def add_sources(parser: argparse.ArgumentParser, default: str = "its name") -> None:
    """Declare what trainers need to know beside the shares; `default` is where a dataset lies."""
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"where a dataset lies (default: {default})",
    )
    parser.add_argument(
        "--total", type=positive, metavar="N", help="examples in all, for axolotl and older trl"
    )
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=N",
        help="examples a dataset has; counts beyond it are refused",
    )
    parser.add_argument(
        "--digits", type=positive, default=6, metavar="D", help="decimals (default: %(default)s)"
    )


def sources_of(args: argparse.Namespace) -> Sources:
    """Read the options of `add_sources`."""
    from m2m.exporting import Sources

    sizes = {name: _count(name, text) for name, text in pairs("--size", args.size).items()}
    return Sources(pairs("--path", args.path), args.total, sizes, args.digits)


def execute(args: argparse.Namespace) -> int:
    """Write the file."""
    from m2m.cli.output import print_json
    from m2m.verbs.export import export

    mixture = export(args.mixture, args.to, args.out, sources_of(args))
    if args.json:
        print_json({"out": args.out, "to": args.to, "weights": mixture.shares})
    elif not args.quiet:
        print(f"{args.out}: {mixture.shown}, in the format {args.to}")
    return 0


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--size {name}: wanted a whole number of examples, got {text!r}")
    return int(text)
