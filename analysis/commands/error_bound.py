"""Estimate bounds on residual and score error before the mixture is trained, and where they say nothing.

Trains one mixture and its experts at many step sizes and horizons, full batch, on few examples. Writes
error_bound.json, error_bound.csv (a row a recipe) and the figure.
"""

from __future__ import annotations

import argparse

from analysis.commands.shared import add_run_arguments, report, shown
from m2m.support.shown_progress import progress

HELP = "estimated bounds on the residual, and where they stop being informative"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_arguments(parser, examples=8)
    parser.add_argument(
        "--mixture", metavar="A+B", help="datasets to mix in equal parts (default: all of them)"
    )


def execute(args: argparse.Namespace) -> int:
    """Estimate bounds, and print how many hold and inform."""
    from analysis.error_bound.bound import INSTEAD
    from analysis.studies import bound_error

    outcome = bound_error(
        args.run, args.out, mixture=args.mixture, target=args.target, examples=args.examples,
        float32=args.float32, progress=progress(quiet=args.quiet or args.json),
    )  # fmt: skip
    content = outcome.content
    lines = [
        f"{content['estimated_bounds_that_hold']} of {content['estimated_bounds']} estimated bounds hold, "
        f"{content['estimated_bounds_that_inform']} are below the distance travelled",
        f"exponent of η: {shown(content['exponent_of_rate'][0], '.3f')} at the smallest steps (2 in theory), "
        f"{shown(content['exponent_of_rate_own_optimizer'][0], '.3f')} under "
        f"{outcome.study.own[0].recipe.optimizer}",
    ]
    if outcome.study.without_bound:
        lines.append(f"no bound for the run's own optimizer: {'; '.join(outcome.study.without_bound)}")
        lines.append(f"instead: {INSTEAD}")
    summary = {key: content[key] for key in content if key.startswith(("estimated", "exponent"))}
    report(args, outcome, summary, lines)
    return 0
