"""Write report.html of a run folder: of one that has not finished too, and with what was found since.

What `m2m mix`, `m2m-analysis orthogonality` and `m2m-analysis curvature` wrote into the run is on the page.
Where Plotly is installed (`pip install 'm2m[report]'`) its charts can be pointed at and clicked. The page
loads nothing, and says the same in tables and pictures without them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a run's one-page report"


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
