"""Measure the residual between mixture-trained and merged models beside its second-order prediction.

Writes interaction.json, interaction.csv (a row a mixture) and the figure. Needs a run with validate = true.
"""

from __future__ import annotations

import argparse

from analysis.commands.on_a_run import add_run_arguments, open_for_study
from analysis.commands.shared import report

HELP = "the residual between trained and merged models: measured, predicted, corrected"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
    add_run_arguments(parser, examples=64)
    parser.add_argument(
        "--anchored",
        type=float,
        metavar="SHARE",
        help="also train experts on this share of their own data, and the rest of all datasets",
    )


def execute(args: argparse.Namespace) -> int:
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.
    """
    run = open_for_study(args)
    from analysis.interaction.runs import of_run
    from analysis.interaction.write import NAME, to_json, to_tables
    from analysis.results import provenance, write_results
    from paper_figs.mergemix import residual

    study = of_run(run, args.target, anchored=args.anchored)
    content = to_json(study)
    write_results(args.out, NAME, content | {"source": provenance(run)}, to_tables(study))
    residual.draw(args.out, args.out)
    sentences = [
        f"residual / travel: mean {content['mean_relative']:.3g} over {len(study.residuals)} mixtures",
        f"of {content['pairs']} pairs the residual flips {len(study.flipped)}, "
        f"its first-order effect {len(study.flipped_by_effect)}",
    ]
    if content["mean_corrected"] is not None:
        sentences.append(f"left by the Scheffé correction: {content['mean_corrected']:.3g} of the residual")
    if study.anchored:
        sentences.append(f"left by anchored experts: {study.anchored.ratio:.3g} of the residual")
    if study.outside:
        sentences.append(f"the prediction is for gradient descent, but {'; '.join(study.outside)}")
    report(args, {key: value for key, value in content.items() if key != "residuals"}, sentences)
    return 0
