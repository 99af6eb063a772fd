"""Write report.html of a run folder again, after it was moved or its figures were drawn anew."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a run's one-page report again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")


def execute(args: argparse.Namespace) -> int:
    """Write the report."""
    from m2m.cli.output import print_json
    from m2m.pipeline.report import write_report

    report = write_report(args.run)
    if args.json:
        print_json({"report": report.resolve()})
    elif not args.quiet:
        print(report)
    return 0
