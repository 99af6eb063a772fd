"""Compare the scores of merged models with those of mixture-trained models.

Reads a finished run folder, or any CSV table with a row a mixture, and writes fidelity.json, fidelity.csv,
fidelity_choices.csv, fidelity_points.csv and the scatter figure.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.shared import add_shared_arguments, report

if TYPE_CHECKING:
    from analysis.fidelity import FidelityStudy, IntervalEstimate

HELP = "agreement of merged and mixture-trained models: correlations, regret, noise ceiling"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "source", type=Path, metavar="RUN|TABLE.csv", help="a finished run folder, or a table"
    )
    parser.add_argument("--merged", metavar="COL", help="column of the merged models' scores (tables)")
    parser.add_argument(
        "--trained", metavar="COL", help="column of the mixture-trained models' scores (tables)"
    )
    parser.add_argument("--by", metavar="COL", help="column that names the target (tables)")
    parser.add_argument("--again", metavar="COL", help="column of a second training seed's scores (tables)")
    parser.add_argument("--lower-is-better", action="store_true", help="scores are losses (tables)")
    add_shared_arguments(
        parser, default_out="the run's figures folder", seed_of="bootstraps and permutations"
    )


def execute(args: argparse.Namespace) -> int:
    """Compare, and print correlations."""
    from analysis.studies import measure_fidelity

    outcome = measure_fidelity(
        args.source, args.out, merged=args.merged, trained=args.trained, by=args.by, again=args.again,
        lower_is_better=args.lower_is_better, seed=args.seed,
    )  # fmt: skip
    report(args, outcome, outcome.content, _sentences(outcome.study))
    return 0


def _sentences(study: FidelityStudy) -> list[str]:
    lines = [
        f"{target}: {_in_words('Pearson', fidelity.mixtures.pearson)}, "
        f"{_in_words('Spearman', fidelity.mixtures.spearman)}"
        for target, fidelity in study.by.items()
    ]
    if study.pooled is not None:
        lines.append(f"all targets: {_in_words('Pearson', study.pooled.mixtures.pearson)}")
        if study.pooled.incomplete:
            lines.append(f"{study.pooled.incomplete} mixtures are not in every target")
    slope = study.mixed.slope
    if slope.value is not None:
        lines.append(_in_words("slope over targets and seeds", slope))
    plans = study.power["pearson"].plans
    return lines + [
        f"a Pearson interval {plan.width:g} wide takes {plan.dependent or plan.mixtures} mixtures"
        for plan in plans[1:2]
    ]


def _in_words(name: str, estimate: IntervalEstimate) -> str:
    if estimate.value is None:
        return f"{name} not defined ({estimate.reason})"
    interval = f" [{estimate.low:.2f}, {estimate.high:.2f}]" if estimate.low is not None else ""
    doubt = f" (no interval: {estimate.reason})" if estimate.low is None and estimate.reason else ""
    return f"{name} {estimate.value:.3f}{interval}{doubt}, n = {estimate.n}"
