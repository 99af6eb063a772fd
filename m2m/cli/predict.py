"""Predict the scores of mixtures from those of other mixtures.

Tables are joined on their column `index`, or in order where there is none. Weights lie on the simplex; a
table of 0 and 1 holds subsets, which enter as s/|s|. `auto` tries every family, and takes the best one or a
stack of them, whichever does better in nested cross-validation. Without --at only the cross-validation is
shown. What --save wrote predicts again by --load, with the same bits and without the tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import ConfigError
from m2m.support.shared_options import add_seed, positive

if TYPE_CHECKING:
    from m2m.predicting import Forecast

HELP = "predict scores of mixtures from a table of scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--mixtures", type=Path, metavar="X.csv", help="scored mixtures, a column a domain")
    parser.add_argument("--scores", type=Path, metavar="Y.csv", help="their scores")
    parser.add_argument("--target", metavar="COL", help="the column of scores to predict")
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="a predictor that --save wrote, in place of these three"
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="where the fitted predictor goes (JSON)")
    parser.add_argument(
        "--model", metavar="NAME", help="auto, or a family of docs/predicting.md (default: auto)"
    )
    parser.add_argument("--at", type=Path, nargs="+", metavar="X2.csv", help="mixtures to predict")
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="where the predictions of --at go (CSV), a file for each table",
    )
    parser.add_argument(
        "--cv",
        dest="folds",
        type=positive,
        metavar="K",
        help="print cross-validated Spearman per model, from K folds (default: 5)",
    )
    parser.add_argument("--index", metavar="COL", help="the column that joins the tables (default: index)")
    add_seed(parser, "decides folds and all random choices (default: 0)")


def execute(args: argparse.Namespace) -> int:
    """Predict."""
    from m2m.cli.output import print_json
    from m2m.predicting import predict
    from m2m.support.shown_progress import progress

    if (args.at is None) != (args.out is None):
        raise ConfigError("--at says which mixtures to predict and --out where to: give both, or neither")
    if args.load is not None:
        fits = {"--model": args.model, "--cv": args.folds, "--seed": args.seed}
        if given := [option for option, value in fits.items() if value is not None]:
            raise ConfigError(f"--load is a predictor that is fitted: leave out {' and '.join(given)}")
    forecast = predict(
        args.mixtures, args.scores, args.target, at=args.at, out=args.out, model=args.model or "auto",
        folds=args.folds or 5, seed=args.seed or 0, index=args.index, save=args.save, load=args.load,
        progress=progress(quiet=args.quiet),
    )  # fmt: skip
    if args.json:
        print_json(_outcome(args, forecast))
    elif not args.quiet:
        _tell(args, forecast)
    return 0


def _outcome(args: argparse.Namespace, forecast: Forecast) -> dict[str, Any]:
    fitted, predictor = forecast.fitted, forecast.predictor
    return {
        "target": fitted.target,
        "model": predictor.name,
        "weights": predictor.weights,
        "spearman": predictor.spearman,
        "notes": predictor.notes,
        "mixtures": len(predictor.residuals),
        "domains": len(fitted.domains),
        "subsets": fitted.subsets,
        "out": args.out,
        "save": args.save,
    }


def _tell(args: argparse.Namespace, forecast: Forecast) -> None:
    from m2m.cli.output import print_table

    fitted, predictor = forecast.fitted, forecast.predictor
    kind = "subsets, as s/|s|" if fitted.subsets else "mixtures"
    print(f"{fitted.target}: {len(predictor.residuals)} {kind}, {len(fitted.domains)} domains")
    if args.folds or forecast.table is None:
        ranked = sorted(predictor.spearman.items(), key=lambda item: -item[1])
        print_table([["MODEL", "CROSS-VALIDATED SPEARMAN"], *([name, f"{rho:.4f}"] for name, rho in ranked)])
    parts = ", ".join(f"{name} {weight:.2f}" for name, weight in predictor.weights.items())
    print(f"model: {predictor.name}" + (f" ({parts})" if len(predictor.weights) > 1 else ""))
    for path, table in zip(args.out or [], forecast.tables, strict=True):
        print(f"{path}: {len(table)} predictions")
    if args.save is not None:
        print(f"{args.save}: the predictor, for --load")
