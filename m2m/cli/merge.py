"""Merge checkpoints by a recipe (mergekit YAML), streaming: bounded memory, exact, resumable.

With --candidates one pass over the experts writes a checkpoint for every row of a table, in folders of OUT;
its columns are the last parts of the experts' paths, or the folders that tell those apart.
With --json one line tells wall seconds, bytes read and written, and the peak of memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from m2m.support.shared_options import add_memory, add_resume, add_strict, add_threads, add_workers, amount

HELP = "merge checkpoints by a recipe"
#: Options of mergekit-yaml.
HINTS = {
    "--copy-tokenizer": "the tokenizer is copied by itself; `tokenizer_source` in the recipe says whose",
    "--cuda": "say --device cuda",
    "--allow-crimes": "models of different kinds are held against each other, and refused where they differ",
    "--lazy-unpickle": "weights are always read piece by piece",
    "--low-cpu-memory": "say --memory",
    "--out-shard-size": "say --shard-size",
    "--num-threads": "say --threads",
    "--random-seed": "say `m2m: {seed: N}` in the recipe",
    "--trust-remote-code": "merging runs no code of a model",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "recipe", type=Path, metavar="RECIPE.yml", help="which models, which method, which weights"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="the checkpoint folder to write; must not exist"
    )
    add_merge_options(parser)
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="write inner products and signs of the task vectors to OUT/statistics.json",
    )
    parser.add_argument(
        "--as-adapter",
        action="store_true",
        help="write LoRA experts as one adapter, not as a model; in one step, factors in memory",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="D",
        help="where sums are computed: cpu, cuda, cuda:1 (default: %(default)s)",
    )
    add_workers(parser, "one process; each takes a file of the result, of --shard-size")
    parser.add_argument(
        "--cache-size",
        type=amount,
        default="20GB",
        metavar="SIZE",
        help="most disk for parts of models that lie elsewhere (default: %(default)s)",
    )
    add_resume(parser)
    parser.add_argument(
        "--durable", action="store_true", help="wait for the disk: the result survives a power cut"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read what was written again and check its hashes"
    )


def add_merge_options(parser: argparse.ArgumentParser) -> None:
    """Declare what a merge, and a check of one, may be told."""
    parser.add_argument(
        "--candidates", metavar="TABLE.csv", help="a row of weights for every checkpoint to write"
    )
    add_memory(parser, "256MiB")
    add_threads(parser)
    parser.add_argument(
        "--shard-size",
        type=amount,
        default="5GB",
        metavar="SIZE",
        help="most bytes a file (default: %(default)s)",
    )
    parser.add_argument("--dtype", metavar="D", help="dtype of what is written (default: the recipe's)")
    add_strict(parser)


def execute(args: argparse.Namespace) -> int:
    """Merge."""
    from m2m.cli.output import print_json, print_notes
    from m2m.merging import merge
    from m2m.merging.recipe.reader import load
    from m2m.support.shown_progress import progress
    from m2m.support.units import format_bytes

    if not args.quiet:
        print_notes(load(args.recipe).notes)
    report = merge(
        args.recipe,
        args.out,
        candidates=args.candidates,
        as_adapter=args.as_adapter,
        statistics=args.statistics,
        memory=args.memory,
        threads=args.threads,
        shard_size=args.shard_size,
        dtype=args.dtype,
        resume=args.resume,
        verify=args.verify,
        durable=args.durable,
        strict=args.strict,
        device=args.device,
        cache_size=args.cache_size,
        workers=args.workers,
        executor=args.executor,
        progress=progress(quiet=args.quiet, unit="B"),
    )
    if not args.quiet:
        print_notes(report.notes)
    if args.json:
        print_json(report.to_dict())
    elif not args.quiet:
        written, peak = format_bytes(report.written_bytes), format_bytes(report.peak_rss_bytes)
        print(f"{report.out}: {written} written in {report.wall_s:.1f} s, peak memory {peak}")
    return 0
