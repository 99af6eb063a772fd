"""Write a fine-tuned model as a LoRA adapter of its base model: of each change, what low rank can hold.

Each linear layer's task vector gets the factors of its largest singular values, --rank of them or as many as
hold a share --energy of its squared norm. How far the factors are from the task vector is printed for every
tensor, and kept in OUT/extraction.json. Other tensors that differ are named; --whole writes them as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.support.shared_options import add_seed

if TYPE_CHECKING:
    from m2m.merging.extract import Extraction

HELP = "write a fine-tuned model as a LoRA adapter"
#: Tensors that are shown.
_SHOWN = 15
#: Options of mergekit-extract-lora.
HINTS = {
    "--max-rank": "say --rank",
    "--model": "the model is the second argument",
    "--base-model": "the base model is the first argument",
    "--out-path": "the folder is the third argument",
    "--sv-epsilon": "say --energy with the share of the squared norm to hold",
    "--save-module": "say --whole with a glob of tensor names",
    "--exclude-regex": "say --only with globs of the tensors that get factors",
    "--include-regex": "say --only with globs of the tensors that get factors",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("base", metavar="BASE", help="the base model")
    parser.add_argument("model", metavar="MODEL", help="the fine-tuned model")
    parser.add_argument("out", type=Path, metavar="OUT", help="the adapter's folder; must not exist")
    parser.add_argument(
        "--rank", type=int, metavar="R", help="rank of every module (default: 16; with --energy, 256 at most)"
    )
    parser.add_argument(
        "--energy", type=float, metavar="E", help="share of each squared norm that the factors must hold"
    )
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="GLOB", help="tensors that get factors (default: all)"
    )
    parser.add_argument(
        "--whole", nargs="+", default=[], metavar="GLOB", help="tensors that are written whole, as '*norm*'"
    )
    parser.add_argument(
        "--dtype", default="float32", metavar="D", help="float type of the factors (default: %(default)s)"
    )
    add_seed(parser, "of the random range by which large matrices are decomposed")


def execute(args: argparse.Namespace) -> int:
    """Extract."""
    from m2m.cli.output import print_json
    from m2m.merging.extract import extract_lora
    from m2m.support.shown_progress import progress

    found = extract_lora(
        args.base,
        args.model,
        args.out,
        rank=args.rank,
        energy=args.energy,
        only=args.only,
        whole=args.whole,
        dtype=args.dtype,
        seed=args.seed or 0,
        progress=progress(quiet=args.quiet),
    )
    if args.json:
        print_json(found.to_dict())
    elif not args.quiet:
        _tell(found)
    return 0


def _tell(found: Extraction) -> None:
    from m2m.cli.output import print_table
    from m2m.support.units import format_bytes

    worst = sorted(found.tensors, key=lambda tensor: tensor.error, reverse=True)[:_SHOWN]
    rows = [[each.name, str(each.rank), f"{each.norm:.3g}", f"{each.error:.3g}"] for each in worst]
    print_table([["least well held", "rank", "norm of the change", "relative error"], *rows])
    print(f"{len(found.tensors)} modules have factors; all in all the relative error is {found.error:.3g}")
    if found.whole:
        print(f"{len(found.whole)} tensors are written whole")
    if found.left:
        more = f" and {len(found.left) - _SHOWN} more" if len(found.left) > _SHOWN else ""
        print(f"left out though they differ: {', '.join(found.left[:_SHOWN])}{more} (--whole writes them)")
    print(f"{found.out}: {format_bytes(found.nbytes)}")
