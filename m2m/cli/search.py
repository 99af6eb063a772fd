"""Search for the best mixture, and say how sure the search is.

With RUN the merged scores of a finished run are the objective: what each strategy would have found with so
many evaluations. With --base, --experts and a task (as for `m2m score`) candidates are merged and scored as
they are asked for; scores are kept in the SQLite file beside --out, so the same command goes on where it was
interrupted.

Strategies: model (Bayesian regression on the averaged subset, the default), exhaustive, random, greedy,
backward, beam, annealing; for --space simplex: model, quadratic, random; tpe, cmaes, gp, genetic through
Optuna; predictor:NAME with any predictor of `m2m predict`, and regmix, in rounds of fit, propose, score.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.cli.score import add_means, add_models, add_tasks, inputs_of_setup, options_of_tasks
from m2m.errors import ConfigError
from m2m.support.command_line import add_seed, add_threads, positive

if TYPE_CHECKING:
    from m2m.cli.search_source import Source
    from m2m.searching import QuadraticPrior, Space, Strategy
    from m2m.support.outputs import Output

HELP = "find the best mixture from few evaluations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb.

    Args:
        parser: The verb's parser.
    """
    add = parser.add_argument
    add("run", nargs="?", type=Path, metavar="RUN", help="a finished run folder, to search its merged scores")
    add_models(parser, required=False)
    add_tasks(parser)
    add_means(parser, mode="resident")
    add("--strategy", default="model", metavar="NAME", help="how to search (default: %(default)s)")
    add("--budget", type=positive, metavar="K", help="most evaluations (default: all there are)")
    add("--space", choices=["subsets", "simplex"], default="subsets", help="(default: %(default)s)")
    add("--smallest", type=positive, default=1, metavar="K", help="fewest datasets (default: %(default)s)")
    add("--largest", type=positive, metavar="K", help="most datasets (default: all)")
    add("--include", nargs="+", default=[], metavar="DATASET", help="datasets in every subset")
    add("--exclude", nargs="+", default=[], metavar="DATASET", help="datasets in none")
    add("--group", action="append", default=[], metavar="A+B", help="datasets that go together")
    add("--cap", nargs="+", default=[], metavar="DATASET=SHARE", help="largest shares, on the simplex")
    add("--floor", nargs="+", default=[], metavar="DATASET=SHARE", help="least shares, on the simplex")
    add("--metric", metavar="M", help="the metric (needed if there are several)")
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
    """Search.

    Args:
        args: The parsed options.

    Returns:
        The exit code.
    """
    from m2m.cli import search_report
    from m2m.cli.search_prior import read_prior
    from m2m.cli.search_race import open_race
    from m2m.cli.search_scores import open_source
    from m2m.cli.search_utility import read_utility
    from m2m.searching import assess
    from m2m.support.outputs import check_outputs

    check_outputs(_outputs(args), inputs=_inputs(args))
    with open_source(args) as source:
        utility, seed = read_utility(args, source), args.seed or 0
        prior = None if args.prior is None else read_prior(args.prior, source, utility.tasks)
        space, strategy = _space(args, source), _strategy(args, prior)
        race = open_race(source, utility.tasks, seed) if args.race else None
        objective = utility.objective if race is None else race.objective
        result = strategy.search(objective, space, args.budget, seed)
        best = min if not objective.higher_is_better else max
        picked = best(utility.feasible(result.trajectory), key=lambda step: step.value)
        belief = None
        if len(result.trajectory) >= search_report.ENOUGH:
            upwards = objective.higher_is_better
            belief = assess(result.trajectory, space, higher_is_better=upwards, seed=seed, prior=prior)
        if args.out is not None:
            search_report.write(args.out, result)
        search_report.tell(args, picked, result, belief, utility, race)
    return 0


def _outputs(args: argparse.Namespace) -> list[Output]:
    from m2m.support.outputs import Output

    outputs = []
    if args.run is None and args.base is not None:
        from m2m.scoring import score_outputs

        if args.out is None:
            raise ConfigError("live scores need --out NAME.csv: they are kept beside it")
        outputs = score_outputs(args.out)
    elif args.out is not None:
        outputs = [Output(f"--out {args.out}", args.out)]
    if args.storage is not None:
        outputs.append(Output(f"--storage {args.storage}", args.storage, "table"))
    return outputs


def _inputs(args: argparse.Namespace) -> list[str | Path]:
    # A run is none of them: what it keeps is never written over, and beside that a table may lie there.
    named = [path for path in (args.base, args.prior) if path is not None]
    if args.run is not None:
        return named
    from m2m.cli.experts import named_paths
    from m2m.scoring import files_of_tasks

    tasks = files_of_tasks(args.task or (), args.model, options_of_tasks(args))
    return [*named, *named_paths(args.experts or ()).values(), *tasks, *inputs_of_setup(args, args.out)]


def _space(args: argparse.Namespace, source: Source) -> Space:
    from m2m.cli.search_utility import shares
    from m2m.searching import Simplex, Subsets
    from m2m.support.names import split_label

    limits = [args.largest, args.include, args.exclude, args.group, args.cap, args.floor]
    if args.run is not None and args.space == "simplex":
        raise ConfigError(f"{args.run} has the scores of certain mixtures only; leave out --space simplex")
    if source.pool is not None:
        if args.smallest > 1 or any(limits):
            raise ConfigError(
                f"{args.run} does not have every subset: search the ones it has, without limits"
            )
        return source.pool
    if args.space == "simplex":
        return Simplex(source.datasets, shares(args.floor, "--floor"), shares(args.cap, "--cap"))
    if args.cap or args.floor:
        raise ConfigError("--cap and --floor go with --space simplex")
    groups = [split_label(group) for group in args.group]
    return Subsets(source.datasets, args.smallest, args.largest, args.include, args.exclude, groups)


def _strategy(args: argparse.Namespace, prior: QuadraticPrior | None) -> Strategy:
    from dataclasses import replace

    from m2m.searching import ModelBased, OptunaStudy, TrustRegion, strategy_named

    strategy = strategy_named(args.strategy)
    if prior is not None:
        if not isinstance(strategy, ModelBased | TrustRegion):
            raise ConfigError("--prior goes with --strategy model or quadratic")
        strategy = replace(strategy, prior=prior)
    if args.storage is None:
        return strategy
    if not isinstance(strategy, OptunaStudy):
        raise ConfigError("--storage goes with --strategy tpe, cmaes, gp or genetic")
    return replace(strategy, storage=args.storage)
