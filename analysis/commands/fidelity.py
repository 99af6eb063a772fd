"""Compare the scores of merged models with those of mixture-trained models.

Reads a finished run folder, or any CSV table with a row a mixture, and writes fidelity.json, fidelity.csv,
fidelity_choices.csv, fidelity_points.csv and the scatter figure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError, InputError

if TYPE_CHECKING:
    from analysis.fidelity import Estimate, Study

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
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: the run's figures folder)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of bootstraps and permutations (default 0)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")


def execute(args: argparse.Namespace) -> int:
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.
    """
    if args.source.is_dir():
        study, source, out = _of_run(args)
    else:
        study, source, out = _of_table(args)
    _write(study, out, source)
    print(_json_line(study, out) if args.json else _summary(study, out))
    return 0


def _of_run(args: argparse.Namespace) -> tuple[Study, dict[str, Any], Path]:
    if any((args.merged, args.trained, args.by, args.again, args.lower_is_better)):
        raise ConfigError(
            "--merged, --trained, --by, --again and --lower-is-better are for tables, not for a run"
        )
    from analysis.fidelity.runs import of_run

    study = of_run(args.source, seed=args.seed)
    return study, {"run": args.source.name}, args.out or args.source / "figures"


def _of_table(args: argparse.Namespace) -> tuple[Study, dict[str, Any], Path]:
    missing = [option for option in ("merged", "trained", "out") if getattr(args, option) is None]
    if missing:
        raise ConfigError(f"a table needs --{missing[0]}")
    from analysis.fidelity import of_table

    study = of_table(
        args.source,
        args.merged,
        args.trained,
        args.by,
        again=args.again,
        higher_is_better=not args.lower_is_better,
        seed=args.seed,
    )
    columns = {name: getattr(args, name) for name in ("merged", "trained", "by", "again")}
    return study, {"table": args.source.name, **columns}, args.out


def _write(study: Study, out: Path, source: dict[str, Any]) -> None:
    from analysis.fidelity.write import write
    from paper_figs.merge_to_mix.scatter import draw

    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; wanted a folder")
    write(study, out, source)
    draw(out, out)


def _json_line(study: Study, out: Path) -> str:
    found = {
        name: getattr(study.overall.correlations, name).to_json()
        for name in ("pearson", "spearman", "kendall")
    }
    return json.dumps({"out": str(out), **found}, ensure_ascii=False)


def _summary(study: Study, out: Path) -> str:
    lines = [
        f"{target}: {_in_words('Pearson', fidelity.correlations.pearson)}, "
        f"{_in_words('Spearman', fidelity.correlations.spearman)}"
        for target, fidelity in study.by.items()
    ]
    if study.pooled is not None:
        lines.append(f"all targets: {_in_words('Pearson', study.pooled.correlations.pearson)}")
    slope = study.mixed.slope
    if slope.value is not None:
        lines.append(_in_words("slope over targets and seeds", slope))
    plans = study.power["pearson"].plans
    lines += [
        f"a Pearson interval {plan.width:g} wide takes {plan.dependent or plan.mixtures} mixtures"
        for plan in plans[1:2]
    ]
    return "\n".join([*lines, f"written to {out}"])


def _in_words(name: str, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"{name} not defined ({estimate.reason})"
    interval = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{name} {estimate.value:.3f}{interval}, n = {estimate.n}"
