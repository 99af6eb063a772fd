"""Measure gradients and curvature of each dataset's loss at the base, along gradients and task vectors.

Writes curvature.json, three CSV tables (γ, interactions τᵀHτ, the quadratic model's predictions) and figures;
with --spectra two more tables (points and curve of each spectral density) and their figure.
"""

from __future__ import annotations

import argparse

from analysis.commands.shared import add_run_arguments, report, shown

_NAMES = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}
HELP = "Hessians at the base: γ, interactions, the target's quadratic model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_arguments(parser, examples=64)
    parser.add_argument(
        "--forward", action="store_true", help="make the quadratic model again from merged losses alone"
    )
    parser.add_argument(
        "--matrix",
        choices=("hessian", "ggn"),
        default="hessian",
        help="take the Hessian or the generalised Gauss-Newton matrix (default %(default)s)",
    )
    parser.add_argument(
        "--spectra", action="store_true", help="also each dataset's spectrum: ends, density and trace"
    )


def execute(args: argparse.Namespace) -> int:
    """Measure, and print γ, the quadratic model and the spectra."""
    from analysis.studies import measure_curvature

    outcome = measure_curvature(
        args.run, args.out, target=args.target, examples=args.examples, float32=args.float32,
        forward=args.forward, matrix=args.matrix, spectra=args.spectra,
    )  # fmt: skip
    study, model = outcome.study, outcome.content["quadratic"]
    lines = [
        f"γ of {', '.join(study.tables.datasets)} ({_NAMES[study.matrix]}):",
        *(" ".join(shown(value, "7.3f") for value in row) for row in study.tables.gamma),
        f"quadratic model of {study.target}: Spearman {shown(model['spearman'], '.3f')} with the losses of "
        f"{model['mixtures']} merged models, largest error {model['largest_error']:.2g} nat",
    ]
    for name, found in study.spectra.items():
        # Hutch++ wants eigenvalues that decay and are not negative.
        trace = found.hutch_plus_plus if study.matrix == "ggn" else found.hutchinson
        low, *_, high = found.ends.eigenvalues
        size = f"{trace.value:.0f} ± {trace.standard_error:.0f}"
        lines.append(f"spectrum of {name}: {low:.3g} to {high:.3g}, trace {size}")
    report(args, outcome, {"gamma": study.tables.gamma, "quadratic": model}, lines)
    return 0
