"""Check a checkpoint folder against its manifest: every file is there, with the hash it was written with."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "check a merged checkpoint against its hashes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("folder", type=Path, metavar="OUT", help="a folder written by m2m")


def execute(args: argparse.Namespace) -> int:
    """Check the folder."""
    from dataclasses import asdict

    from m2m.checkpoint import verify
    from m2m.cli.output import print_json
    from m2m.support.units import format_bytes

    checked = verify(args.folder)
    if args.json:
        print_json({"folder": args.folder, **asdict(checked)})
    elif not args.quiet:
        size = format_bytes(checked.nbytes)
        print(f"{args.folder}: all {checked.files} files ({size}) are as they were written")
    return 0
