"""Make the file of second moments that adam_merge reads, from a checkpoint that transformers or TRL left.

CHECKPOINT is a folder such as checkpoint-500: configuration, weights, and optimizer.pt, of which nothing is
run as code. A recipe then names FILE as a model's moments; in an expert's own folder, called
second_moments.safetensors, it is found by itself. m2m's training writes it there with save_moments = true.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from m2m.support.shared_options import add_out

HELP = "make AdamW's second moments readable for adam_merge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a folder with weights and optimizer.pt"
    )
    add_out(parser, "the safetensors file to write")


def execute(args: argparse.Namespace) -> int:
    """Write the file."""
    from dataclasses import asdict

    from m2m.checkpoint.second_moments import write_second_moments
    from m2m.cli.output import print_json
    from m2m.support.units import format_bytes

    written = write_second_moments(args.checkpoint, args.out)
    if args.json:
        print_json({**asdict(written), "out": str(written.out)})
    elif not args.quiet:
        size = format_bytes(written.nbytes)
        print(f"{args.out}: second moments of {written.tensors} tensors ({size}), {written.steps} steps")
    return 0
