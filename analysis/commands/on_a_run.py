"""Options that the commands on a run's models share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.shared import add_shared_arguments

if TYPE_CHECKING:
    from analysis.trained_run import TrainedRun


def add_run_arguments(parser: argparse.ArgumentParser, examples: int) -> None:
    """Add what every such command takes.

    Args:
        parser: The verb's parser.
        examples: Examples of every dataset and target that are used unless the user says otherwise.
    """
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with trained experts")
    parser.add_argument("--target", metavar="NAME", help="target whose loss is used (default: the run's)")
    parser.add_argument(
        "--examples",
        type=int,
        default=examples,
        metavar="E",
        help="examples of every dataset and target, at even distances; 0 for all (default %(default)s)",
    )
    parser.add_argument(
        "--float32", action="store_true", help="compute in the model's precision, not float64"
    )
    add_shared_arguments(parser)


def open_for_study(args: argparse.Namespace) -> TrainedRun:
    """Open the run that the command line names, the output folder checked first.

    Args:
        args: The parsed options.

    Returns:
        The run.
    """
    from analysis.results import output_folder
    from analysis.trained_run import open_run

    output_folder(args.out)
    return open_run(args.run, args.examples or None, float64=not args.float32)
