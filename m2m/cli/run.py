"""Find the best mixture of the given datasets: experts, merged candidates, the pick, its real training.

With --validate every subset is really trained as well, which measures how far merged scores can be trusted;
with --validate M so many are, half drawn by chance and half the pick's contenders, which says how far off the
best the pick may be, and what to train next. The pick may then move to what training shows to be better.
An interrupted run goes on where it was: run the same command again. With --dry-run everything is checked and
nothing is done: it is said how many trainings that makes, and about how long, how much memory and disk.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m2m.cli.score import add_means
from m2m.errors import ConfigError
from m2m.support.shared_options import add_workers, positive

HELP = "find the best mixture, from data to report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "config", type=Path, metavar="CONFIG.toml", help="what to mix, how to train, what to choose for"
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="the run folder, new or of an interrupted run"
    )
    parser.add_argument(
        "--dry-run", action="store_true",
        help="check everything, and say what the run would do and take; with --out: what is left to do",
    )  # fmt: skip
    add_workers(parser, "one a core")
    add_means(parser, mode="resident")
    parser.add_argument(
        "--budget", type=positive, metavar="M",
        help="merge and score at most M mixtures, which a search chooses (default: all of up to 12 datasets; "
        "of more 300, or 6 a dataset)",
    )  # fmt: skip
    parser.add_argument(
        "--no-validate", dest="validate", action="store_false", default=None,
        help="train only what is chosen, whatever the configuration says",
    )  # fmt: skip
    parser.add_argument(
        "--validate", nargs="?", const=True, default=None, type=positive, metavar="M",
        help="really train every subset, to measure fidelity, or M mixtures of two or more datasets, to "
        "judge the pick (default: as the configuration says)",
    )  # fmt: skip
    parser.add_argument(
        "--until", metavar="'P(within E %) > P'",
        help="stop these trainings when the pick is within E percent of the range of trained scores of the "
        "best with a probability above P",
    )  # fmt: skip
    parser.add_argument(
        "--log-to", action="append", default=[], metavar="LOG",
        help="also tell losses, scores and results to tensorboard, mlflow or wandb, where installed, or to a "
        "log of your own, FILE.py:CLASS; again for several",
    )  # fmt: skip


def execute(args: argparse.Namespace) -> int:
    """Do the whole run, or say what it would do."""
    from m2m.cli.output import print_json, print_notes
    from m2m.support.shown_progress import progress
    from m2m.verbs.run import run

    if args.dry_run:
        return _dry_run(args)
    if args.out is None:  # argparse cannot say "unless"
        raise ConfigError("--out PATH is missing, the run folder; --dry-run alone goes without")
    report = run(
        args.config, args.out, budget=args.budget, validate=args.validate, until=args.until,
        workers=args.workers, executor=args.executor, mode=args.mode, memory=args.memory, device=args.device,
        log_to=args.log_to, progress=progress(quiet=args.quiet),
    )  # fmt: skip
    if not args.quiet:
        print_notes(report.notes)
    if args.json:
        print_json({**report.results, "report": report.page})
    elif not args.quiet:
        _tell(report.results, report.page)
    return 0


def _dry_run(args: argparse.Namespace) -> int:
    from m2m.cli.dry_run import tell
    from m2m.cli.output import print_json, print_notes
    from m2m.support.shown_progress import progress
    from m2m.verbs.dry_run import dry_run

    if args.executor != "local":
        raise ConfigError(
            "--dry-run estimates for this machine: leave out --executor, and give as many "
            "--workers as the cluster has"
        )
    found = dry_run(
        args.config, args.out, budget=args.budget, validate=args.validate, until=args.until,
        workers=args.workers, device=args.device, progress=progress(quiet=args.quiet),
    )  # fmt: skip
    if not args.quiet:
        print_notes(found.notes)
    if args.json:
        print_json(found.to_json())
    elif not args.quiet:
        tell(found)
    return 0


def _tell(results: Mapping[str, Any], report: Path) -> None:
    """Print what a person wants to know first."""
    from m2m.cli.output import print_table
    from m2m.pipeline.report.caveats import grown, no_better, of_how_many, tied
    from m2m.pipeline.report.runner_up import runner_up
    from m2m.pipeline.report.trust import trust_rows
    from m2m.pipeline.report.write import ONE_DATASET
    from m2m.pipeline.run_folder import to_train_on

    direction = "higher" if results["higher_is_better"] else "lower"
    print(f"Train on {' + '.join(to_train_on(results))} for {results['target']}.")
    for said in filter(None, (grown(results), of_how_many(results))):
        print(said)
    if "why" in results:
        print(f"Why: {results['why']}.")
    elif len(results["picked"]) == 1:
        print(ONE_DATASET)
    if said := tied(results) or runner_up(results):
        print(said)
    print(f"\n{results['metric']} on the test split ({direction} is better):")
    rows = [
        [f"  {name}", f"{value:.4f}", " + ".join(results.get(name, ()))]
        for name, value in results["test"].items()
    ]
    print_table(rows)
    if utility := results.get("utility"):
        _tell_targets(utility, results)
        if said := no_better(results):
            print(said)
    if "trust" in results:
        print("\nthe pick, judged by few trainings:")
        print_table([[f"  {name}", text] for name, text in trust_rows(results["trust"])])
    if results["fidelity"]:
        print("\nfidelity, merged against really trained models, mixtures of two or more (Pearson, 95 %):")
        rows = [
            [f"  {target}", _in_words(found["mixtures"]["pearson"])]
            for target, found in results["fidelity"].items()
        ]
        print_table(rows)
    if results.get("beside", {}).get("overall"):
        print(
            "\nbeside what the experts say without merging (Spearman over mixtures of two or more; mean "
            "regret, share of the range):"
        )
        print_table(_beside(results["beside"]))
    print(f"\nreport: {report}")


def _tell_targets(utility: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Print each model's test scores on the targets that make up the utility."""
    from m2m.cli.output import print_table
    from m2m.pipeline.headlines import headline, in_words

    decides = "; ".join(f"{target}: {in_words(*headline(results, target))}" for target in utility["test"])
    print(f"\non the test split by target ({decides}):")
    models = next(iter(utility["test"].values()))
    rows = [[f"  {name}", *(f"{of[name]:.4f}" for of in utility["test"].values())] for name in models]
    print_table([["", *utility["test"]], *rows])


def _beside(found: Mapping[str, Any]) -> list[list[str]]:
    """List each surrogate's agreement, merging's lead, and what its picks lose of the range."""
    rows = []
    for name, compared in found["overall"].items():
        value, lead = compared["spearman"], compared["spearman_lead"]
        ahead = (
            ""
            if lead["low"] is None
            else f"merging {lead['value']:+.2f} [{lead['low']:+.2f}, {lead['high']:+.2f}]"
        )
        regrets = [
            f"{choices['regret'][name]['value']:.1%} on {kind}" for kind, choices in found["choices"].items()
        ]
        agreement = "not defined" if value is None else f"{value:.2f}"
        rows.append([f"  {found['surrogates'][name]}", agreement, ahead, *regrets])
    return rows


def _in_words(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return f"not defined: {estimate['reason']}"
    interval = ""
    if estimate["low"] is not None:
        interval = f" [{estimate['low']:.2f}, {estimate['high']:.2f}] for {estimate['about']}"
    return f"{estimate['value']:.2f}{interval}, n = {estimate['n']}"
