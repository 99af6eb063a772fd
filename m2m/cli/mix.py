"""Find the best shares of the given datasets, as MergeMix does: experts, starting mixtures, surfaces, λ*.

K experts are trained; models merged at starting mixtures are scored on every target; a surface is fitted to
each; the mixture with the best utility is merged, scored and taken as the sampling ratio. The `[mix]` table
of the configuration says how (docs/mixing.md). A folder of `m2m run` serves, and its experts are used.
Results go to PATH/mix. An interrupted search goes on where it was: run the same command again.

With --base, --experts and a task (as for `m2m score`) the experts are those, nothing is trained, and results
go to PATH itself; of CONFIG.toml only the `[mix]` table is read then, with weights by task as its
capabilities, and without it all tasks count the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.cli.export import add_sources, sources_of
from m2m.cli.score import add_means, add_models, add_tasks, options_of_tasks
from m2m.cli.words import named_paths, pairs
from m2m.support.shared_options import add_out, add_seed, add_strict, add_workers

if TYPE_CHECKING:
    from m2m.mixing import MixResult, ScoredMixture

HELP = "find the best shares of datasets on the simplex"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.toml",
        help="what to mix, how to train, what to choose for",
    )  # fmt: skip
    add_out(parser, "the run folder, new or of an earlier run of this configuration")
    add_models(parser, required=False)
    add_tasks(parser)
    add_seed(parser, "decides all random choices for given experts (default: 0)")
    add_workers(parser, "one a core; for given experts this process with all its cores")
    add_means(parser, mode="resident")
    add_strict(parser)
    parser.add_argument(
        "--train", action="store_true", help="really train λ* and equal shares, and compare their scores"
    )
    parser.add_argument(
        "--to",
        dest="exports",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="also write λ* for a trainer, in a format of `m2m export`",
    )
    add_sources(parser)


def execute(args: argparse.Namespace) -> int:
    """Do the whole search."""
    from m2m.cli.output import print_json, print_notes
    from m2m.support.shown_progress import progress
    from m2m.verbs.mix import mix

    exports = pairs("--to", args.exports)
    result = mix(
        args.config, args.out, base=args.base,
        experts=None if args.experts is None else named_paths(args.experts), tasks=args.task or (),
        setup=args.setup, targets=args.target or (), split=args.split, model=args.model,
        context=args.context, options=options_of_tasks(args), seed=args.seed,
        train=args.train, workers=args.workers, executor=args.executor, exports=exports,
        mode=args.mode, memory=args.memory, device=args.device, strict=args.strict,
        sources=sources_of(args), progress=progress(quiet=args.quiet),
    )  # fmt: skip
    if not args.quiet:
        print_notes(result.notes)
    if args.json:
        print_json({**result.to_json(), "folder": result.folder, "exports": exports})
    elif not args.quiet:
        _tell(result, exports)
    return 0


def _tell(result: MixResult, exports: dict[str, str]) -> None:
    """Print what a person wants to know first."""
    from m2m.cli.output import print_table

    how = {"argmax": "argmax", "top": "mean of the top"}.get(result.chosen.kind, "best start")
    print(f"λ*, the shares to train on ({how}):")
    print_table([["  " + name, *cells] for name, *cells in _share_rows(result)])
    if out := [name for name, share in result.mixture.shares.items() if share == 0]:
        print(f"not in it: {', '.join(out)}")
    if (own := result.options["anchor"]) != 1:
        print(f"merged of anchored experts (anchor = {own:g}: own data, the rest of all datasets)")
    if result.uncertainty is not None:
        found = result.uncertainty
        measured = "corrected score" if result.chosen.correction else "merged model"
        print(
            f"its {measured} is better than that of equal shares in {found.beats_equal:.0%} of "
            f"{len(found.choices)} resamples; "
            f"expected regret {found.regret:.2g} of the starting mixtures' range"
        )
    print(f"\npredicted → measured on validation (cross-validated Spearman {result.spearman:.3f}):")
    print_table(_score_rows(result))
    print("best start: the best starting mixture, predicted by surfaces that were fitted without it")
    if result.no_gain:
        print(f"no better than the base model, when merged on λ*: {', '.join(result.no_gain)}")
    if result.chosen.correction:
        added = (f"{name} {value:+.3g}" for name, value in result.chosen.correction.items())
        print(f"all scores are corrected by trained pairs; they add to λ*'s merged score: {', '.join(added)}")
    surfaces = (f"{fit.target.name} {fit.model} {fit.rank:.3f}" for fit in result.fits)
    print(f"surfaces and their cross-validated Spearman: {', '.join(surfaces)}")
    for fit in result.fits:
        for note in fit.notes:
            print(f"note: {fit.target.name}: {note}")
    if result.trained:
        print("\nreally trained:")
        print_table(_trained_rows(result))
    for name, path in exports.items():
        print(f"{path}: λ*, in the format {name}")
    print(f"\nresults: {result.folder / 'mix.json'}, figure: {result.folder / 'mix.png'}")


def _share_rows(result: MixResult) -> list[list[str]]:
    mixture, found = result.mixture, result.uncertainty
    rows = [[name, f"{share:.3f}"] for name, share in mixture.shares.items()]
    if found is not None:
        for row, low, high in zip(rows, found.low, found.high, strict=True):
            row.append(f"[{low:.2f}, {high:.2f}]")
    return [row for row, share in zip(rows, mixture.weights, strict=True) if share > 0]


def _trained_rows(result: MixResult) -> list[list[str]]:
    chosen, equal = result.trained["chosen"], result.trained["equal"]
    rows = [["", "λ*", "equal shares"]]
    for task, by_split in chosen.items():
        for split, score in by_split.items():
            rows.append([f"  {task}, {split}", f"{score:.4f}", f"{equal[task][split]:.4f}"])
    return rows


def _score_rows(result: MixResult) -> list[list[str]]:
    names = [fit.target.name for fit in result.fits]
    by_kind = {candidate.kind: candidate for candidate in result.candidates if candidate.kind != "grid"}
    shown = {
        "λ*": result.chosen,
        "argmax": by_kind["argmax"],
        "mean of the top": by_kind["top"],
        "best start": result.best_start,
        "equal shares": by_kind["equal"],
    }
    head = ["", "utility", *names]
    rows = [["  " + who, *_cells(candidate, names)] for who, candidate in shown.items()]
    return [head, *rows, ["  base model", "", *(f"{fit.base:.4f}" for fit in result.fits)]]


def _cells(candidate: ScoredMixture, names: list[str]) -> list[str]:
    pairs_of = [(candidate.utility_predicted, candidate.utility)]
    pairs_of += [(candidate.predicted[name], candidate.measured[name]) for name in names]
    return [f"{predicted:.4f} → {measured:.4f}" for predicted, measured in pairs_of]
