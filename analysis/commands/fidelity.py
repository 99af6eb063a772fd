"""Compare the scores of merged models with those of mixture-trained models.

Reads a finished run folder, or any CSV table with a row a mixture, and writes fidelity.json, fidelity.csv,
fidelity_choices.csv, fidelity_points.csv and the scatter figure.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.commands.shared import add_shared_arguments, check_results, report
from m2m.errors import ConfigError

if TYPE_CHECKING:
    from analysis.fidelity import FidelityStudy, IntervalEstimate

HELP = "agreement of merged and mixture-trained models: correlations, regret, noise ceiling"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
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
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.
    """
    from analysis.fidelity.study import write
    from paper_figs.merge_to_mix.scatter import draw

    if args.source.is_dir():
        args.out = args.out or args.source / "figures"
    _required(args, "out")
    check_results(args, "fidelity", [] if args.source.is_dir() else [args.source])
    study, source = _of_run(args) if args.source.is_dir() else _of_table(args)
    write(study, args.out, source)
    draw(args.out, args.out)
    found = {
        name: getattr(study.overall.correlations, name).to_json()
        for name in ("pearson", "spearman", "kendall")
    }
    report(args, found, _sentences(study))
    return 0


def _required(args: argparse.Namespace, option: str) -> Any:
    value = getattr(args, option)
    if value is None:
        raise ConfigError(f"a table needs --{option}")
    return value


def _of_run(args: argparse.Namespace) -> tuple[FidelityStudy, dict[str, Any]]:
    if any((args.merged, args.trained, args.by, args.again, args.lower_is_better)):
        raise ConfigError(
            "--merged, --trained, --by, --again and --lower-is-better are for tables, not for a run"
        )
    from analysis.fidelity import of_run
    from analysis.results import run_source

    return of_run(args.source, seed=args.seed), run_source(args.source)


def _of_table(args: argparse.Namespace) -> tuple[FidelityStudy, dict[str, Any]]:
    from analysis.fidelity import of_table
    from m2m.support.content_keys import content_key

    columns = {"merged": _required(args, "merged"), "trained": _required(args, "trained")}
    columns |= {"by": args.by, "again": args.again}
    higher = not args.lower_is_better
    study = of_table(args.source, **columns, higher_is_better=higher, seed=args.seed)
    digest = hashlib.sha256(args.source.read_bytes()).hexdigest()
    config = content_key("fidelity", digest, *columns.values(), str(higher), args.seed)
    return study, {"table": args.source.name, **columns, "sha256": digest, "config": config}


def _sentences(study: FidelityStudy) -> list[str]:
    lines = [
        f"{target}: {_in_words('Pearson', fidelity.correlations.pearson)}, "
        f"{_in_words('Spearman', fidelity.correlations.spearman)}"
        for target, fidelity in study.by.items()
    ]
    if study.pooled is not None:
        lines.append(f"all targets: {_in_words('Pearson', study.pooled.correlations.pearson)}")
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
