"""Redo both papers' experiments on real models, redraw their figures and tables, and write the page.

Fast sizes take half an hour on two cores, --full a night. What was found before stays unless its
configuration or the code has changed; after an interruption the same command goes on where it was.
Run from a clone of the repository, whose examples are the set-ups; data are fetched from pinned packages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.commands.shared import add_shared_arguments, report
from m2m.support.shared_options import add_workers
from m2m.support.shown_progress import progress

HELP = "the papers' figures and tables on real models, and the page of results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--full", action="store_true", help="overnight sizes instead of fast ones")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="do this experiment (may be repeated)"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE.md", help="the page (default: results.md in the folder of --out)"
    )
    add_workers(parser, "one a core")
    add_shared_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Do what is not done yet, draw, and print what there is."""
    from analysis.studies import redraw_papers

    outcome = redraw_papers(
        args.out, page=args.page, full=args.full, only=args.only, workers=args.workers,
        executor=args.executor, progress=progress(quiet=args.quiet or args.json),
    )  # fmt: skip
    lines = [
        f"{one.name}: " + ("was there already" if one.kept else f"done in {one.seconds / 60:.1f} min")
        for one in outcome.study
    ]
    lines.append(
        f"{len(outcome.content['figures'])} files of figures, and the page {outcome.content['page']}"
    )
    report(args, outcome, outcome.content, lines)
    return 0
