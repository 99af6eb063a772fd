"""Measure how experts' task vectors lie to each other: cosines, norms, signs, subspaces.

Reads a run folder's experts, or any checkpoints or LoRA adapters of one base, once and in bounded memory.
Writes orthogonality.json, CSV tables (pairs, experts, subspaces) and the figure.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.commands.shared import add_shared_arguments, report, shown
from m2m.support.shared_options import add_memory, add_threads, natural

if TYPE_CHECKING:
    from analysis.orthogonality import OrthogonalityStudy

HELP = "cosines, norms, signs and subspaces of experts' task vectors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help="a finished run folder (or --base and --experts)"
    )
    parser.add_argument("--base", metavar="MODEL", help="checkpoint of the base model")
    parser.add_argument(
        "--experts", nargs="+", metavar="MODEL", help="checkpoints or LoRA adapters of the experts"
    )
    parser.add_argument(
        "--subspaces",
        type=natural,
        default=0,
        metavar="K",
        help="also compare the leading K singular directions of every matrix (reads matrices several times)",
    )
    parser.add_argument(
        "--anchored",
        nargs="+",
        metavar="MODEL",
        help="experts trained partly on common data, in the same order",
    )
    parser.add_argument("--share", type=float, metavar="B", help="what of its own data those were trained on")
    add_memory(parser, "256MiB")
    add_threads(parser)
    add_shared_arguments(parser, seed_of="random starts")


def execute(args: argparse.Namespace) -> int:
    """Measure, and print the cosines."""
    from analysis.studies import measure_orthogonality

    outcome = measure_orthogonality(
        args.run, out=args.out, base=args.base, experts=args.experts, anchored=args.anchored,
        share=args.share, subspaces=args.subspaces, memory=args.memory, threads=args.threads, seed=args.seed,
    )  # fmt: skip
    report(args, outcome, outcome.content, _sentences(outcome.study))
    return 0


def _sentences(study: OrthogonalityStudy) -> list[str]:
    width = max(map(len, study.experts))
    rows = [
        f"  {name:{width}} {' '.join(shown(value, '7.3f') for value in row)}"
        for name, row in zip(study.experts, study.whole.cosine, strict=True)
    ]
    lines = [f"cosines of {len(study.experts)} task vectors, {study.whole.elements} elements:", *rows]
    by_chance = study.chance
    spread = by_chance.largest_spread
    if spread is not None:
        lines.append(
            f"chance: ±{spread:.2g} where elements are independent (effective dimension from "
            f"{spread**-2:.3g} of {study.whole.elements})"
        )
    return [*lines, *(f"warning: {warning}" for warning in study.warnings)]
