"""Tell from the experts alone whether merged models will stand in for mixture-trained ones.

Scores every merged model, moves it by the residual that theory predicts, and scores it again: if the two
orders agree, merging and training should. Writes outlook.json, outlook.csv (a row a target) and the figure.
No mixture need be trained; where some were, the true correlation stands beside the predicted one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.commands.shared import add_shared_arguments, report, shown
from m2m.support.shared_options import natural
from m2m.support.shown_progress import progress

HELP = "whether merging will stand in for training, told from the experts alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with trained experts")
    parser.add_argument("--targets", nargs="+", metavar="NAME", default=(), help="only these (default: all)")
    parser.add_argument(
        "--examples",
        type=natural,
        default=32,
        metavar="E",
        help="examples of every dataset and target, at even distances; 0 for all (default %(default)s)",
    )
    parser.add_argument(
        "--float32", action="store_true", help="compute in the model's precision, not float64"
    )
    add_shared_arguments(parser, seed_of="the mixtures that are drawn where there are more than 127")


def execute(args: argparse.Namespace) -> int:
    """Predict, and print a line a target."""
    from analysis.studies import measure_outlook

    outcome = measure_outlook(
        args.run, args.out, targets=args.targets, examples=args.examples, float32=args.float32,
        seed=args.seed, progress=progress(quiet=args.quiet or args.json),
    )  # fmt: skip
    study = outcome.study
    lines = [
        f"{study.mixtures} mixtures of two datasets or more; the residual that theory predicts is "
        f"{shown(study.reach, '.2g')} of the merged model's way"
    ]
    if study.beyond:
        lines.append(
            "that is longer than the way: theory of second order has no say here, so train a few mixtures"
        )
    for row in study.targets:
        said = f"{row.target}: {study.verdict(row)}, predicted r {shown(row.predicted, '.2f')}"
        seen = "" if row.true is None else f", true r {row.true:.2f} over {row.trained} trained mixtures"
        lines.append(said + (f" ({row.reason})" if row.reason else "") + seen)
    lines += [f"the prediction does not know that {reason}" for reason in study.outside]
    report(args, outcome, outcome.content, lines)
    return 0
