"""Options that the commands on a run's models share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.shared import add_shared_arguments, check_results
from m2m.support.command_line import natural

if TYPE_CHECKING:
    from analysis.trained_run import TrainedRun


def add_run_arguments(parser: argparse.ArgumentParser, examples: int, results: str, note: str = "") -> None:
    """Add what every such command takes.

    Args:
        parser: The verb's parser.
        examples: Examples of every dataset and target that are used unless the user says otherwise.
        results: How the names of the files begin that the command writes.
        note: When it is another number.
    """
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with trained experts")
    parser.add_argument("--target", metavar="NAME", help="target whose loss is used (default: the run's)")
    parser.add_argument(
        "--examples",
        type=natural,
        metavar="E",
        help=f"examples of every dataset and target, at even distances; 0 for all (default {examples}{note})",
    )
    parser.add_argument(
        "--float32", action="store_true", help="compute in the model's precision, not float64"
    )
    parser.set_defaults(default_examples=examples, results=results)
    add_shared_arguments(parser)


def open_for_study(args: argparse.Namespace, examples: int | None = None) -> TrainedRun:
    """Open the run that the command line names, the output folder checked first.

    Args:
        args: The parsed options.
        examples: Examples unless the user says otherwise; None: the verb's own number.

    Returns:
        The run.
    """
    from analysis.trained_run import open_run

    check_results(args, args.results)
    unsaid = args.default_examples if examples is None else examples
    count = unsaid if args.examples is None else args.examples
    return open_run(args.run, count or None, float64=not args.float32)
