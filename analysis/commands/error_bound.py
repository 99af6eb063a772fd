"""Bound residual and score error before the mixture is trained, and find where the bound says nothing.

Trains one mixture and its experts at many step sizes and horizons, full batch, on few examples. Writes
error_bound.json, error_bound.csv (a row a recipe) and the figure.
"""

from __future__ import annotations

import argparse

from analysis.commands.on_a_run import add_run_arguments, open_for_study
from analysis.commands.shared import report, shown

HELP = "upper bounds on the residual, and where they stop being informative"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
    add_run_arguments(parser, examples=8, results="error_bound")
    parser.add_argument(
        "--mixture", metavar="A+B", help="datasets to mix in equal parts (default: all of them)"
    )


def execute(args: argparse.Namespace) -> int:
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.
    """
    run = open_for_study(args)
    from analysis.error_bound.study import NAME, REASONS, of_run, to_json, to_tables
    from analysis.results import provenance, write_results
    from m2m.mixture import Mixture
    from paper_figs.mergemix import error_bound

    mixture = Mixture.parse(args.mixture, run.datasets) if args.mixture else None
    study = of_run(run, mixture, args.target)
    content = to_json(study)
    write_results(args.out, NAME, content | {"source": provenance(run)}, to_tables(study), REASONS)
    error_bound.draw(args.out, args.out)
    sentences = [
        f"{content['bounds_that_hold']} of {content['bounds']} bounds hold, "
        f"{content['bounds_that_inform']} are below the distance travelled",
        f"exponent of η: {shown(content['exponent_of_rate'][0], '.3f')} at the smallest steps (2 in theory), "
        f"{shown(content['exponent_of_rate_own_optimizer'][0], '.3f')} under {study.own[0].recipe.optimizer}",
    ]
    summary = {key: content[key] for key in content if key.startswith(("bounds", "exponent"))}
    report(args, summary, sentences, REASONS)
    return 0
