"""Score merged models of experts that were trained elsewhere, without writing a merged checkpoint.

The task is a target of a run configuration (--setup, --target), or a Python function of yours (--task) on
a model that your factory builds (--model). Scores are kept one by one in a SQLite file beside the CSV, so the
same command goes on where it was interrupted. Candidates are named by their mixture: `a+b`, `a=0.25+b=0.75`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.cli.parser import add_out, add_threads
from m2m.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from m2m.checkpoint import Checkpoint
    from m2m.evaluate import LiveModel, Scorer
    from m2m.mixture import Mixture
    from m2m.surrogate import ScoreTable

HELP = "score merged candidates of given experts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb.

    Args:
        parser: The verb's parser.
    """
    parser.add_argument(
        "--base", type=Path, required=True, metavar="PATH", help="checkpoint of the base model"
    )
    parser.add_argument(
        "--experts", nargs="+", required=True, metavar="[NAME=]PATH", help="the experts' checkpoints"
    )
    parser.add_argument(
        "--candidates",
        default="all",
        metavar="all|FILE.csv",
        help="all subsets, or a table (default: %(default)s)",
    )
    parser.add_argument(
        "--setup", type=Path, metavar="CONFIG.toml", help="run configuration whose [setup] is used"
    )
    parser.add_argument("--target", nargs="+", metavar="NAME", help="targets of the set-up")
    parser.add_argument(
        "--split", choices=["validation", "test"], default="validation", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--task", nargs="+", metavar="FILE.py:FUNCTION", help="your own: score(model) -> {metric: values}"
    )
    parser.add_argument("--model", metavar="FILE.py:FACTORY", help="your own: factory() -> torch module")
    add_out(parser, "the table of scores, a CSV file")
    add_threads(parser)


def execute(args: argparse.Namespace) -> int:
    """Score the candidates that are not scored yet, and write the table.

    Args:
        args: The parsed options.

    Returns:
        The exit code.

    Raises:
        ConfigError: If there is no folder to write to.
    """
    from m2m.checkpoint import Checkpoint
    from m2m.cli.experts import named_paths
    from m2m.cli.output import print_json
    from m2m.surrogate import ScoreTable

    experts = named_paths(args.experts)
    mixtures = _mixtures(args.candidates, list(experts))
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out {args.out}: there is no folder {args.out.parent}")
    checkpoints = {name: Checkpoint(path) for name, path in {"base": args.base, **experts}.items()}
    model, scorers = _bench(args)
    live = _live(model, checkpoints)  # checked before anything is written
    with ScoreTable(args.out.with_suffix(".sqlite")) as table:
        scored = _score(args, table, live, _keys(checkpoints, mixtures), scorers)
        table.export_csv(args.out)
    if args.json:
        print_json({"scores": args.out, "candidates": len(mixtures), "scored_now": scored})
    elif not args.quiet:
        print(f"{args.out}: {len(mixtures)} candidates, {scored} of them scored now")
        print(f"next: m2m select {args.out}")
    return 0


def _mixtures(source: str, experts: Sequence[str]) -> list[Mixture]:
    from m2m.cli.candidates import read_candidates
    from m2m.mixture import Mixture

    candidates = read_candidates(source, experts)
    mixtures = [Mixture(tuple(experts), candidate.weights) for candidate in candidates]
    return list({mixture.key: mixture for mixture in mixtures}.values())


def _bench(args: argparse.Namespace) -> tuple[nn.Module, list[Scorer]]:
    # From a set-up, or from the user's own functions.
    if (args.setup is None) == (args.task is None):
        raise ConfigError("score needs a task: --setup CONFIG.toml --target NAME, or --task and --model")
    if args.setup is not None:
        return _setup_bench(args)
    if args.model is None or args.target is not None:
        raise ConfigError("--task goes with --model FILE.py:FACTORY and without --target")
    from m2m.evaluate import FunctionScorer
    from m2m.user_code import load_function

    model = load_function(args.model, Path(), "--model")()
    return model, [FunctionScorer(reference) for reference in args.task]


def _setup_bench(args: argparse.Namespace) -> tuple[nn.Module, list[Scorer]]:
    if args.target is None or args.model is not None:
        raise ConfigError("--setup goes with --target NAME and without --model")
    from m2m import config, setups
    from m2m.cli.progress import progress
    from m2m.data import cache_dir
    from m2m.evaluate import TargetScorer

    loaded = config.load(args.setup)
    setup = setups.load(loaded.setup, loaded.root, cache_dir(), progress(quiet=args.quiet))
    return setup.build(), [TargetScorer(setup, target, args.split) for target in args.target]


def _live(model: nn.Module, checkpoints: Mapping[str, Checkpoint]) -> LiveModel:
    from m2m.evaluate import LiveModel

    base, *experts = [checkpoint.state() for checkpoint in checkpoints.values()]
    return LiveModel(model, base, experts, list(checkpoints)[1:])


def _keys(checkpoints: Mapping[str, Checkpoint], mixtures: Sequence[Mixture]) -> dict[str, Mixture]:
    """Return the mixtures by the content key of their merged models."""
    from m2m.checkpoint.manifest import hash_file
    from m2m.surrogate import content_key

    models = [[hash_file(file) for file in checkpoint.files] for checkpoint in checkpoints.values()]
    return {content_key("merged", *models, mixture.weights): mixture for mixture in mixtures}


def _score(
    args: argparse.Namespace,
    table: ScoreTable,
    live: LiveModel,
    candidates: Mapping[str, Mixture],
    scorers: Sequence[Scorer],
) -> int:
    """Return how many candidates were missing, after scoring and keeping each."""
    from m2m.cli.progress import progress
    from m2m.evaluate import score_model

    missing = {
        key: mixture
        for key, mixture in candidates.items()
        if not all(table.has(key, s.task, s.split, s.version) for s in scorers)
    }
    bar = progress(quiet=args.quiet)
    for done, (key, mixture) in enumerate(missing.items()):
        bar(done, len(missing), "candidates")
        live.merge([mixture.weights], args.threads)
        for s, scores in zip(scorers, score_model(live.model, scorers), strict=True):
            table.add(key, mixture, "merged", None, s.task, s.split, s.version, scores, s.metrics)
        bar(done + 1, len(missing), "candidates")
    return len(missing)
