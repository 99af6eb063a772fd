"""Compare the scores of merged models with those of mixture-trained models.

Reads a finished run folder, or any CSV table with a row a mixture, and writes fidelity.json, fidelity.csv,
fidelity_choices.csv, fidelity_points.csv, fidelity_beside.csv, fidelity_regrets.csv and two figures: the
scatter, and merging beside what its own experts say without merging, where their scores are known. With
--format it reads what others published, as they lay it out: regmix, olmix, demix or berasi.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.shared import add_shared_arguments, report

if TYPE_CHECKING:
    from analysis.fidelity import Beside, FidelityStudy, IntervalEstimate
    from analysis.fidelity.correlation import Correlations

HELP = "agreement of merged and mixture-trained models: correlations, regret, noise ceiling"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "source", type=Path, metavar="RUN|TABLE.csv", help="a finished run folder, or a table"
    )
    parser.add_argument(
        "--merged",
        metavar="COL",
        help="column of the merged models' scores (tables); with --format their table, folder or method",
    )
    parser.add_argument(
        "--trained",
        metavar="COL",
        help="column of the mixture-trained models' scores (tables); with --format their table or folder",
    )
    parser.add_argument("--by", metavar="COL", help="column that names the target (tables)")
    parser.add_argument("--again", metavar="COL", help="column of a second training seed's scores (tables)")
    parser.add_argument("--lower-is-better", action="store_true", help="scores are losses (tables)")
    parser.add_argument(
        "--format",
        dest="layout",
        metavar="NAME",
        help="whose layout the source has: regmix, olmix, demix, berasi",
    )
    add_shared_arguments(
        parser, default_out="the run's figures folder", seed_of="bootstraps and permutations"
    )


def execute(args: argparse.Namespace) -> int:
    """Compare, and print correlations."""
    from analysis.studies import measure_fidelity

    outcome = measure_fidelity(
        args.source, args.out, merged=args.merged, trained=args.trained, by=args.by, again=args.again,
        lower_is_better=args.lower_is_better, layout=args.layout, seed=args.seed,
    )  # fmt: skip
    report(args, outcome, outcome.content, _sentences(outcome.study))
    return 0


def _sentences(study: FidelityStudy) -> list[str]:
    lines = [f"{target}: {_both(fidelity.mixtures)}" for target, fidelity in study.everything.items()]
    if study.pooled is not None:
        pooled = study.pooled.mixtures
        lines.append(f"all targets: {_both(pooled)}")
        if study.pooled.incomplete:
            lines.append(f"{study.pooled.incomplete} mixtures are not in every target")
    slope = study.mixed.slope
    if slope.value is not None:
        lines.append(_in_words("slope in standard deviations, over targets and seeds", slope))
    return lines + _beside(study.beside)


def _beside(beside: Beside) -> list[str]:
    from analysis.fidelity.surrogates import SURROGATES

    lines = _alone(beside.left_out)
    for name, found in beside.overall.items():
        for coefficient in ("pearson", "spearman"):
            value, lead = getattr(found, coefficient), getattr(found, f"{coefficient}_lead")
            if lead.value is not None:
                # A lead has no rows of its own to be counted by.
                ahead = _in_words("merged minus it", lead).removesuffix(f", n = {lead.n}")
                lines.append(
                    f"beside merging, {SURROGATES[name]}: {coefficient.capitalize()} {value:.3f}; {ahead}"
                )
    for kind, choices in beside.choices.items():
        regrets = ", ".join(f"{SURROGATES[n]} {e.value:.1%}" for n, e in choices.regret.items())
        lines.append(f"mean regret on {kind} ({choices.utilities}): {regrets}")
    if single := beside.choices.get("single targets"):
        lines.append(f"merging picks a single dataset on {single.picked_one} of {single.utilities} targets")
    return lines


def _alone(left_out: Mapping[str, str]) -> list[str]:
    """Say why nothing stands beside merging, once for all targets that have the same reason."""
    targets: dict[str, list[str]] = {}
    for target, why in left_out.items():
        targets.setdefault(why.removeprefix(f"target {target!r}: "), []).append(target)
    listed = {why: names if len(names) < 4 else [f"{len(names)} targets"] for why, names in targets.items()}
    return [f"nothing stands beside merging on {', '.join(names)}: {why}" for why, names in listed.items()]


def _both(found: Correlations) -> str:
    return f"{_in_words('Pearson', found.pearson)}; {_in_words('Spearman', found.spearman)}"


def _in_words(name: str, estimate: IntervalEstimate) -> str:
    if estimate.value is None:
        return f"{name} not defined ({estimate.reason})"
    if estimate.low is None:
        said = f" (no interval: {estimate.reason})" if estimate.reason else ""
    else:
        about = f" for {estimate.about}" if estimate.about else ""
        said = f" [{estimate.low:.2f}, {estimate.high:.2f}]{about}"
    return f"{name} {estimate.value:.3f}{said}, n = {estimate.n}"
