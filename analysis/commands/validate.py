"""Ask real runs about every claim of both papers and every signature of failure.

Takes run folders, which are only read, and configurations, which are run with validate = true first. Then
trains mixtures of the other horizon and at other ratios, ratios chosen by merging, and experts of other
recipes. Writes verdicts.json, verdicts.csv, verdicts.md and the figure.
"""

from __future__ import annotations

import argparse

from analysis.commands.shared import add_shared_arguments, report
from m2m.support.shared_options import add_workers
from m2m.support.shown_progress import progress

HELP = "a verdict per claim: holds, fails or unresolved, with interval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "sources", nargs="+", metavar="RUN|CONFIG.toml", help="finished run folders, or configurations to run"
    )
    parser.add_argument(
        "--no-trainings",
        dest="trainings",
        action="store_false",
        help="leave out what needs models that the runs do not have",
    )
    parser.add_argument(
        "--no-curvature", dest="curvature", action="store_false", help="leave out the Hessians at the base"
    )
    add_workers(parser, "one a core")
    add_shared_arguments(parser, seed_of="resampling")


def execute(args: argparse.Namespace) -> int:
    """Ask, and print the verdicts; the exit code is 0 whatever they are."""
    from analysis.studies import validate_claims
    from analysis.validate.pages import counts, said_of_many

    outcome = validate_claims(
        args.sources, args.out, trainings=args.trainings, curvature=args.curvature, workers=args.workers,
        executor=args.executor, seed=args.seed, progress=progress(quiet=args.quiet or args.json),
    )  # fmt: skip
    lines = [
        f"{verdict.outcome:10} {verdict.run or '–'}: {verdict.claim.text}"
        + (f" ({verdict.reason})" if verdict.reason else "")
        for verdict in outcome.study.verdicts
    ]
    summary = {"counts": counts(outcome.study), "counts_holm": counts(outcome.study, after_holm=True)}
    report(args, outcome, summary, [*lines, said_of_many(outcome.study.verdicts)])
    return 0
