"""Search for the best mixture, and say how sure the search is.

With RUN the merged scores of a finished run are the objective: what each strategy would have found with so
many evaluations. With --base, --experts and a task (as for `m2m score`) candidates are merged and scored as
they are asked for; scores are kept in the SQLite file beside --out, so the same command goes on where it was
interrupted.

Strategies: model (Bayesian regression on the averaged subset, the default), exhaustive, random, greedy,
backward, beam, annealing; for --space simplex and shares+scale: model, quadratic, random; tpe, cmaes, gp,
genetic through Optuna; predictor:NAME with any predictor of `m2m predict`, and regmix, in rounds of fit,
propose, score.

A scale belongs to the merge: what is trained on, and exported, are the shares.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.cli.output import print_table
from m2m.cli.score import add_means, add_models, add_tasks, options_of_tasks
from m2m.cli.words import limit, named_paths, shares
from m2m.support.shared_options import add_seed, add_strict, add_threads, add_workers, positive

if TYPE_CHECKING:
    from m2m.searching import Belief, Contender
    from m2m.verbs.search import SearchReport

HELP = "find the best mixture from few evaluations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add(
        "source",
        nargs="?",
        type=Path,
        metavar="RUN",
        help="a finished run folder, to search its merged scores",
    )
    add_models(parser, required=False)
    add_tasks(parser)
    add_means(parser, mode="resident")
    add_workers(parser, "this process with all its cores")
    add_strict(parser)
    add("--strategy", default="model", metavar="NAME", help="how to search (default: %(default)s)")
    add("--budget", type=positive, metavar="K", help="most evaluations (default: all there are)")
    add(
        "--space",
        choices=["subsets", "simplex", "shares+scale"],
        default="subsets",
        help="equal parts of some datasets; any shares; shares times one scale s of the merge, base + s "
        "(merged - base) (default: %(default)s)",
    )
    add(
        "--scale-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="scales of --space shares+scale (default: 0.5 2)",
    )
    add("--smallest", type=positive, default=1, metavar="K", help="fewest datasets (default: %(default)s)")
    add("--largest", type=positive, metavar="K", help="most datasets (default: all)")
    add("--include", nargs="+", default=[], metavar="DATASET", help="datasets in every subset")
    add("--exclude", nargs="+", default=[], metavar="DATASET", help="datasets in none")
    add("--group", action="append", default=[], metavar="A+B", help="datasets that go together")
    add("--cap", nargs="+", default=[], metavar="DATASET=SHARE", help="largest shares, on the simplex")
    add("--floor", nargs="+", default=[], metavar="DATASET=SHARE", help="least shares, on the simplex")
    add("--metric", metavar="M", help="the metric (default: the headline metric)")
    add("--weigh", nargs="+", default=[], metavar="TASK=WEIGHT", help="tasks to trade against each other")
    add(
        "--keep", nargs="+", default=[], metavar="TASK>=BOUND", help="limits that must hold; also TASK<=BOUND"
    )
    add("--race", action="store_true", help="score a mixture only as far as it can still be the best")
    add(
        "--prior", type=Path, metavar="curvature.json",
        help="what `m2m-analysis curvature` says of the loss, for --strategy model or quadratic",
    )  # fmt: skip
    add("--storage", type=Path, metavar="FILE.sqlite", help="keep Optuna's study there, for its dashboard")
    add(
        "--out",
        type=Path,
        metavar="PATH",
        help="what was tried, as CSV; live scores are kept beside NAME.csv in NAME.sqlite",
    )
    add_seed(parser, "decides all random choices (default: 0)")
    add_threads(parser)


def execute(args: argparse.Namespace) -> int:
    """Search."""
    from m2m.cli.output import print_json
    from m2m.support.names import split_label
    from m2m.support.shown_progress import progress
    from m2m.verbs.search import search

    report = search(
        args.source, args.space, args.strategy, args.budget, args.seed or 0, base=args.base,
        experts=None if args.experts is None else named_paths(args.experts), tasks=args.task or (),
        setup=args.setup, targets=args.target or (), split=args.split, model=args.model,
        context=args.context, options=options_of_tasks(args), mode=args.mode, memory=args.memory,
        device=args.device, threads=args.threads, smallest=args.smallest, largest=args.largest,
        include=args.include, exclude=args.exclude, groups=[split_label(group) for group in args.group],
        caps=shares(args.cap, "--cap"), floors=shares(args.floor, "--floor"),
        scale_range=None if args.scale_range is None else tuple(args.scale_range), metric=args.metric,
        weigh=shares(args.weigh, "--weigh"), keep=[limit(text) for text in args.keep], race=args.race,
        prior=args.prior, storage=args.storage, out=args.out, strict=args.strict,
        executor=args.executor, workers=args.workers, progress=progress(quiet=args.quiet),
    )  # fmt: skip
    if args.json:
        print_json(_outcome(report))
    elif not args.quiet:
        _tell(report)
    return 0


def _tell(report: SearchReport) -> None:
    print(f"picked: {report.best.shown}")
    if (scale := report.best.scale) != 1:
        print(f"shares to train on: {report.mixture.shown}; scale of the merge: {scale:.6g}")
    shown = ", ".join(f"{task} {value:.6g}" for task, value in report.scores.items())
    print(f"{shown}: best of {report.result.evaluations} tried")
    if report.raced is not None:
        spent, whole = report.raced
        print(f"race: {spent} of {whole} example evaluations, {1 - spent / whole:.0%} saved")
    if report.belief is not None:
        _tell_belief(report.belief)
    else:
        print(_no_belief(report))


def _no_belief(report: SearchReport) -> str:
    from m2m.verbs.search import ENOUGH

    tried = report.result.evaluations
    return f"how sure that is cannot be said: {tried} evaluations, at least {ENOUGH} are needed"


def _tell_belief(belief: Belief) -> None:
    pick = belief.pick
    print(f"expected best: {pick.mixture.shown}, {pick.value:.6g} ± {pick.deviation:.2g}")
    print(f"probability that it is the best of all: {_chance(pick.probability)}")
    print(f"expected regret: {belief.regret:.2g}")
    print(f"expected worst: {belief.worst.mixture.shown}, {belief.worst.value:.6g}")
    if belief.contenders:
        print("not told apart from it:")
        print_table([_cells(contender) for contender in belief.contenders])
    if belief.next:
        print("try next: " + ", ".join(mixture.shown for mixture in belief.next))
    for note in belief.notes:
        print(f"note: {note}")


def _chance(probability: float) -> str:
    # Of a few hundred draws: none of them does not make a thing impossible.
    return f"{probability:.0%}" if probability >= 0.005 else "below 1%"


def _cells(contender: Contender) -> list[str]:
    believed = f"{contender.value:.6g} ± {contender.deviation:.2g}"
    tried = "tried" if contender.tried else "not tried"
    return ["  " + contender.mixture.shown, believed, _chance(contender.probability), tried]


def _outcome(report: SearchReport) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "picked": report.best.label,
        "weights": report.best.by_name,
        "scale": report.best.scale,
        "train_on": report.mixture.label,
        "value": report.picked.value,
        "scores": report.scores,
        "evaluations": report.result.evaluations,
        "complete": report.result.complete,
        "front": [{"candidate": mixture.label, "scores": scores} for mixture, scores in report.front],
    }
    belief = report.belief
    if belief is not None:
        outcome["belief"] = {
            "pick": _contender(belief.pick),
            "contenders": [_contender(contender) for contender in belief.contenders],
            "next": [mixture.label for mixture in belief.next],
            "regret": belief.regret,
            "worst": _contender(belief.worst),
            "noise": belief.noise,
            "notes": list(belief.notes),
        }
    else:
        outcome |= {"belief": None, "belief_reason": _no_belief(report)}
    if report.raced is not None:
        spent, whole = report.raced
        outcome["race"] = {"evaluations": spent, "of": whole}
    return outcome


def _contender(contender: Contender) -> dict[str, Any]:
    return {
        "candidate": contender.mixture.label,
        "weights": contender.mixture.by_name,
        "value": contender.value,
        "deviation": contender.deviation,
        "probability": contender.probability,
        "tried": contender.tried,
    }
