"""Measure gradients and curvature of each dataset's loss at the base, along gradients and task vectors.

Writes curvature.json, three CSV tables (γ, interactions τᵀHτ, the quadratic model's predictions) and figures;
with --spectra two more tables (points and curve of each spectral density) and their figure.
"""

from __future__ import annotations

import argparse

from analysis.commands.on_a_run import add_run_arguments, open_for_study
from analysis.commands.shared import report, shown

_NAMES = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}
HELP = "Hessians at the base: γ, interactions, the target's quadratic model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
    add_run_arguments(parser, examples=64, results="curvature")
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
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.
    """
    run = open_for_study(args)
    from analysis.curvature.study import NAME, REASONS, of_run, to_json, to_tables
    from analysis.results import provenance, write_results
    from paper_figs.mergemix import density, gamma, quadratic

    study = of_run(run, args.target, forward=args.forward, spectra=args.spectra, matrix=args.matrix)
    content = to_json(study)
    write_results(args.out, NAME, content | {"source": provenance(run)}, to_tables(study), REASONS)
    gamma.draw(args.out, args.out)
    quadratic.draw(args.out, args.out)
    if study.spectra:
        density.draw(args.out, args.out)
    model = content["quadratic"]
    sentences = [
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
        sentences.append(f"spectrum of {name}: {low:.3g} to {high:.3g}, trace {size}")
    report(args, {"gamma": study.tables.gamma, "quadratic": model}, sentences, REASONS)
    return 0
