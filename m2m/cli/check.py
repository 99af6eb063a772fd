"""Check a recipe before its merge: what does not fit, what is doubtful, and what the merge will take.

Headers, configurations and tokenizers are read, and of the weights a small sample; 64 MiB of the result are
really merged beside OUT, timed, and removed. Nothing else is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.cli.merge import add_merge_options

if TYPE_CHECKING:
    from m2m.merging.dry_run import MergeCheck

HELP = "check a recipe, and say what its merge will take"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yml", help="as of m2m merge")
    parser.add_argument(
        "out", type=Path, nargs="?", metavar="OUT", help="where the merge would write (default: here)"
    )
    add_merge_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Check."""
    from m2m.cli.output import print_json, print_notes, print_table
    from m2m.merging.dry_run import check
    from m2m.support.shown_progress import progress

    found = check(
        args.recipe,
        args.out,
        memory=args.memory,
        threads=args.threads,
        shard_size=args.shard_size,
        dtype=args.dtype,
        candidates=args.candidates,
        strict=args.strict,
        progress=progress(quiet=args.quiet, unit="B"),
    )
    if args.json:
        print_json(found.to_dict())
        return 0
    print_notes(found.notes)
    print_table([*_lines(found)])
    return 0


def _lines(found: MergeCheck) -> Iterator[list[str]]:
    from m2m.support.units import format_bytes

    yield ["method", found.method]
    for name, nbytes in found.models.items():
        yield ["model", f"{name} ({format_bytes(nbytes)})"]
    each = f"{found.outputs} checkpoints of " if found.outputs > 1 else ""
    files = f"{found.files} files" if found.files > 1 else "1 file"
    written, free = format_bytes(found.written_bytes), format_bytes(found.free_bytes)
    yield ["writes", f"{written}: {each}{found.tensors} tensors in {files}; {free} free"]
    yield ["reads", format_bytes(found.read_bytes)]
    yield ["memory", f"{format_bytes(found.memory_bytes)} of buffers, {found.threads} threads"]
    piece = format_bytes(found.piece_bytes)
    yield ["time", f"about {found.seconds:.2g} s, by {piece} of the result that were merged and removed"]
    doubts = f"{len(found.warnings)} doubts, above" if found.warnings else "nothing is doubtful"
    yield ["verdict", f"the merge can run; {doubts}"]
