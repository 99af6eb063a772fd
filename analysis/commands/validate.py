"""Ask real runs about every claim of both papers and every signature of failure.

Takes run folders, which are only read, and configurations, which are run with validate = true first. Then
trains mixtures of the other horizon and at other ratios, ratios chosen by merging, and experts of other
recipes. Writes verdicts.json, verdicts.csv, verdicts.md and the figure.
"""

from __future__ import annotations

import argparse
import os
import sys

from analysis.commands.shared import add_shared_arguments, check_results, report
from m2m.support.command_line import positive
from m2m.support.progress import nobody

HELP = "a verdict per claim: holds, fails or unresolved, with interval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options.

    Args:
        parser: The verb's parser.
    """
    parser.add_argument(
        "sources", nargs="+", metavar="RUN|CONFIG.toml", help="finished run folders, or configurations to run"
    )
    parser.add_argument(
        "--no-trainings", action="store_true", help="leave out what needs models that the runs do not have"
    )
    parser.add_argument("--no-curvature", action="store_true", help="leave out the Hessians at the base")
    parser.add_argument(
        "--workers", type=positive, metavar="W", help="worker processes (default: one a core)"
    )
    add_shared_arguments(parser, seed_of="resampling")


def execute(args: argparse.Namespace) -> int:
    """Do what the command line says.

    Args:
        args: The parsed options.

    Returns:
        The exit code 0, whatever the verdicts are.
    """
    from analysis.results import write_results
    from analysis.validate.validation import (
        NAME,
        REASONS,
        Options,
        counts,
        provenance,
        to_json,
        to_page,
        to_tables,
        validate,
    )
    from m2m.support.files import write_atomically
    from paper_figs.merge_to_mix import verdicts

    check_results(args, "verdicts", [source for source in args.sources if os.path.isfile(source)])
    options = Options(
        out=args.out,
        trainings=not args.no_trainings,
        curvature=not args.no_curvature,
        workers=args.workers or os.cpu_count() or 1,
        seed=args.seed,
        progress=nobody if args.quiet or args.json else _tell,
    )
    validation = validate(args.sources, options)
    content = to_json(validation)
    write_results(
        args.out, NAME, content | {"source": provenance(validation)}, to_tables(validation), REASONS
    )
    write_atomically(args.out / f"{NAME}.md", to_page(validation))
    verdicts.draw(args.out, args.out)
    sentences = [
        f"{verdict.outcome:10} {verdict.run or '–'}: {verdict.claim.text}"
        + (f" ({verdict.reason})" if verdict.reason else "")
        for verdict in validation.verdicts
    ]
    report(args, {"counts": counts(validation)}, sentences, REASONS)
    return 0


def _tell(done: int, total: int, what: str) -> None:
    print(f"{what} {done}/{total}", file=sys.stderr, flush=True)
