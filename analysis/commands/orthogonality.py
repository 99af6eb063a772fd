"""Measure how experts' task vectors lie to each other: cosines, norms, signs, subspaces.

Reads a run folder's experts, or any checkpoints or LoRA adapters of one base, once and in bounded memory.
Writes orthogonality.json, CSV tables (pairs, experts, subspaces) and the figure.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.commands.shared import add_shared_arguments, check_results, report, shown
from m2m.errors import ConfigError
from m2m.support.command_line import add_memory, add_threads, natural

if TYPE_CHECKING:
    from analysis.orthogonality import OrthogonalityStudy

HELP = "cosines, norms, signs and subspaces of experts' task vectors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
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
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0.
    """
    from analysis.orthogonality.study import NAME, REASONS, to_json, to_tables
    from analysis.results import write_results
    from paper_figs.mergemix import cosines

    models = [args.base, *(args.experts or ()), *(args.anchored or ())]
    check_results(args, "orthogonality", [path for path in models if path])
    study, source = _study(args)
    content = to_json(study)
    write_results(args.out, NAME, content | {"source": source}, to_tables(study), REASONS)
    cosines.draw(args.out, args.out)
    report(args, content, _sentences(study), REASONS)
    return 0


def _study(args: argparse.Namespace) -> tuple[OrthogonalityStudy, dict[str, Any]]:
    from analysis.orthogonality import orthogonality
    from analysis.orthogonality.study import of_run
    from analysis.results import run_source, versions
    from m2m.support.content_keys import content_key

    common = {"rank": args.subspaces, "memory": args.memory, "threads": args.threads, "seed": args.seed}
    made_by = {"seed": args.seed, "versions": versions()}
    if args.run is not None:
        if args.base or args.experts or args.anchored or args.share is not None:
            raise ConfigError(
                "a run folder names its own models: leave --base, --experts, --anchored, --share out"
            )
        return of_run(args.run, **common), run_source(args.run) | made_by
    if not (args.base and args.experts):
        raise ConfigError("name a run folder, or --base and --experts")
    study = orthogonality(args.base, args.experts, anchored=args.anchored or (), share=args.share, **common)
    asked = [args.base, args.experts, args.anchored, args.share, args.subspaces, args.seed]
    return study, {"config": content_key("orthogonality", asked)} | made_by


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
