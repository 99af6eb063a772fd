"""Regret against evaluations: this project's search beside random, greedy, TPE and boosted trees.

python benchmarks/search.py run --out RESULTS.csv [--sizes 20 50 100] [--seeds 20] [--grow RUN:TARGET ...]
python benchmarks/search.py table RESULTS.csv ...
python benchmarks/search.py plot RESULTS.csv ... --out FOLDER
python benchmarks/search.py replay RUN --targets NAME ... [--budget 38] [--seeds 20]
python benchmarks/search.py enumerate [--datasets 20]

`run` adds rows to RESULTS.csv and leaves out what is there, so an interrupted run goes on. Its landscapes
are `aligned`, or with --grow those grown from real runs, which take turns from seed to seed. Regret has no
noise in it: 0 at the best subset, and 1 at the base model (`aligned`) or when as large as the range of the
real run's trained losses (grown). A strategy's pick is the best measured subset, or for `model` the one its
belief expects to be best; seconds are of CPU. `replay` searches the merged scores of a run with every subset
trained: how often the best of all is found within the budget, and what the pick costs in trained scores.
`enumerate` times the search of all subsets of a fitted pairwise model.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from effects import effects_of, trained_losses
from landscapes import Problem, aligned, grown

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.predicting.validation import spearman
from m2m.scoring.table import ScoreTable
from m2m.searching import STRATEGIES, Evaluation, Objective, Subsets
from m2m.searching.polynomial_posterior import PolynomialPosterior
from m2m.searching.subset_quadratic import SubsetQuadratic
from paper_figs.search.regret import draw

#: Evaluations a dataset after which the pick is looked at.
CHECKPOINTS = (2, 4, 6, 8, 10)
#: A mixture, the loss of its merged model, and its own when really trained.
Pair = tuple[Mixture, float, float]
#: The strategies in the order of the tables.
ORDER = ("model", "greedy", "genetic", "tpe", "predictor:lightgbm", "random")
COLUMNS = ("landscape", "n", "seed", "strategy", "evaluations", "regret", "seconds")


def pick(name: str, steps: tuple[Evaluation, ...]) -> Mixture:
    """Return what a strategy would choose after these evaluations."""
    losses = np.array([step.value for step in steps])
    if name == "model":
        losses = PolynomialPosterior(np.array([step.mixture.weights for step in steps]), losses).predicted()
    return steps[int(losses.argmin())].mixture


def measure(problem: Problem, landscape: str, name: str, seed: int) -> list[dict[str, object]]:
    """Run one strategy on one landscape; a row a checkpoint."""
    n = len(problem.space.datasets)
    budget = CHECKPOINTS[-1] * n
    start = time.process_time()
    objective = Objective(problem.evaluate, higher_is_better=False)
    steps = STRATEGIES[name].search(objective, problem.space, budget, seed).trajectory
    seconds = round(time.process_time() - start, 2)
    regrets = {m * n: problem.regret(pick(name, steps[: m * n])) for m in CHECKPOINTS}
    return [
        dict(zip(COLUMNS, (landscape, n, seed, name, evaluations, regret, seconds), strict=True))
        for evaluations, regret in regrets.items()
    ]


def run(args: argparse.Namespace) -> None:
    """Measure what RESULTS.csv does not have yet."""
    done = set()
    if args.out.exists():
        table = pd.read_csv(args.out)
        done = set(zip(table.landscape, table.n, table.seed, table.strategy, strict=True))
    else:
        args.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for seed in range(args.first, args.seeds):
        landscape = f"grown:{args.grow[seed % len(args.grow)]}" if args.grow else "aligned"
        for n in args.sizes:
            todo = [name for name in args.strategies if (landscape, n, seed, name) not in done]
            problem = problem_of(landscape, n, seed) if todo else None
            for name in todo:
                rows = measure(problem, landscape, name, seed)
                with args.out.open("a", encoding="utf-8", newline="") as file:
                    csv.DictWriter(file, COLUMNS).writerows(rows)
                print(landscape, n, seed, name, rows[-1], file=sys.stderr, flush=True)


def problem_of(landscape: str, n: int, seed: int) -> Problem:
    """Make a landscape by name: `aligned` or `grown:RUN:TARGET`."""
    if landscape == "aligned":
        return aligned(n, seed)
    run, target = landscape.removeprefix("grown:").rsplit(":", 1)
    return grown(effects_of(Path(run), target), n, seed)


def table(args: argparse.Namespace) -> None:
    """Print the regrets in % as a Markdown table: mean, quantiles, number of seeds."""
    results = pd.concat([pd.read_csv(path) for path in args.results])
    results["kind"] = results.landscape.str.split(":").str[0]
    # Where a strategy found a lower loss than the descents did, that is the optimum.
    lowest = results.groupby(["landscape", "n", "seed"]).regret.transform("min")
    results["regret"] -= lowest.clip(upper=0)
    results = results[(results.evaluations // results.n).isin(args.multiples)]
    names = [name for name in ORDER if name in set(results.strategy)]
    print("| landscape | N | evaluations | " + " | ".join(names) + " |")
    print("| --- | --- | --- |" + " --- |" * len(names))
    for (kind, n, evaluations), rows in results.groupby(["kind", "n", "evaluations"]):
        cells = [regret_cell(100 * rows[rows.strategy == name].regret) for name in names]
        print(f"| {kind} | {n} | {evaluations} | " + " | ".join(cells) + " |")


def regret_cell(regrets: pd.Series) -> str:
    """Show mean, 10 %, 50 % and 90 % quantile and number of the regrets of one strategy."""
    if regrets.empty:
        return "–"
    low, middle, high = regrets.quantile([0.1, 0.5, 0.9])
    return f"{regrets.mean():.1f} ({low:.1f}, {middle:.1f}, {high:.1f}; {len(regrets)})"


def replay(args: argparse.Namespace) -> None:
    """Search a finished run's merged scores; print two Markdown tables."""
    print("| target | Pearson | Spearman | without singletons | surrogate's best is | its regret, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for target in args.targets:
        print(fidelity_row(target, paired(args.run, target)), flush=True)
    print()
    print("| target | strategy | found | evaluations | mean true regret, % | worst, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for target in args.targets:
        for name in args.strategies:
            print(replay_row(target, name, paired(args.run, target), args.budget, args.seeds), flush=True)


def paired(run: Path, target: str) -> list[Pair]:
    """Read every subset's merged and trained loss on one target; the first training seed."""
    points, losses = trained_losses(run, target)
    with ScoreTable(run / "scores.sqlite") as table:
        rows = table.rows(origin="merged", task=target, split="validation", metric="loss")
    names = tuple(rows[0].weights)
    trained = dict(zip(map(tuple, points.tolist()), losses.tolist(), strict=True))
    if missing := 2 ** len(names) - 1 - len(trained):
        raise InputError(f"{run}: {missing} subsets were not trained; finish the run with `m2m run`")
    weights = [tuple(row.weights.values()) for row in rows]
    return [(Mixture(names, w), row.value, trained[w]) for w, row in zip(weights, rows, strict=True)]


def true_regrets(pairs: list[Pair]) -> dict[str, float]:
    """Return by key each subset's shortfall from the best one, in units of the range of trained losses."""
    losses = np.array([trained for _, _, trained in pairs])
    regrets = (losses - losses.min()) / np.ptp(losses)
    return {mixture.key: float(r) for (mixture, _, _), r in zip(pairs, regrets, strict=True)}


def fidelity_row(target: str, pairs: list[Pair]) -> str:
    """Say how well merged losses stand in for trained ones, and what their best costs."""
    several = [pair for pair in pairs if len(pair[0].members) > 1]
    (merged, trained), without = np.array([pair[1:] for pair in pairs]).T, [pair[1:] for pair in several]
    best = pairs[int(merged.argmin())][0]
    cells = [np.corrcoef(merged, trained)[0, 1], spearman(merged, trained), spearman(*np.array(without).T)]
    shown = " | ".join(f"{cell:.3f}" for cell in cells)
    return f"| {target} | {shown} | {best.label} | {100 * true_regrets(pairs)[best.key]:.1f} |"


def replay_row(target: str, name: str, pairs: list[Pair], budget: int, seeds: int) -> str:
    """Search the merged losses with many seeds: how often the best is found, when, and what picks cost."""
    losses, regrets = {mixture.key: merged for mixture, merged, _ in pairs}, true_regrets(pairs)
    space, best = Subsets(pairs[0][0].datasets), min(losses.values())
    objective = Objective(lambda mixture: losses[mixture.key], higher_is_better=False)
    needed, costs = [], []
    for seed in range(seeds):
        steps = STRATEGIES[name].search(objective, space, budget, seed).trajectory
        values = [step.value for step in steps]
        needed.append(values.index(best) + 1 if best in values else np.inf)
        costs.append(100 * regrets[steps[int(np.argmin(values))].mixture.key])
    found = np.isfinite(needed)
    # Order statistics, not means of them: a search that has not found the best has no number.
    quantiles = np.quantile(needed, [0.1, 0.5, 0.9], method="inverted_cdf")
    shown = ", ".join(f"{q:.0f}" if np.isfinite(q) else "–" for q in quantiles)
    cells = f"{found.sum()} of {seeds} | {shown} | {np.mean(costs):.1f} | {np.max(costs):.1f}"
    return f"| {target} | {name} | {cells} |"


def plot(args: argparse.Namespace) -> None:
    """Draw regret against evaluations."""
    for path in draw(args.results, args.out):
        print(path)


def enumerate_all(args: argparse.Namespace) -> None:
    """Fit a pairwise model to some evaluations and time how long its best subset of all takes."""
    problem = aligned(args.datasets, 0)
    objective = Objective(problem.evaluate, higher_is_better=False)
    steps = STRATEGIES["random"].search(objective, problem.space, 15 * args.datasets).trajectory
    points = np.array([step.mixture.weights for step in steps])
    fitted = PolynomialPosterior(points, np.array([step.value for step in steps])).mean().quadratic
    start = time.perf_counter()
    best = SubsetQuadratic(fitted, problem.space.free_units).best_of_all()
    seconds = time.perf_counter() - start
    print(f"2^{args.datasets} subsets in {seconds:.3f} s; the best has {best.sum():.0f} datasets")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("run")
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100])
    verb.add_argument("--first", type=int, default=0, help="first seed, to share the work")
    verb.add_argument("--seeds", type=int, default=20)
    verb.add_argument("--strategies", nargs="+", default=list(ORDER))
    verb.add_argument(
        "--grow", nargs="+", metavar="RUN:TARGET", help="grow the landscapes from these instead"
    )
    verb.set_defaults(do=run)
    verb = verbs.add_parser("table")
    verb.add_argument("results", type=Path, nargs="+")
    verb.add_argument("--multiples", type=int, nargs="+", default=[6, 10], help="evaluations a dataset")
    verb.set_defaults(do=table)
    verb = verbs.add_parser("replay")
    verb.add_argument("run", type=Path)
    verb.add_argument("--targets", nargs="+", required=True)
    verb.add_argument("--budget", type=int, default=38)
    verb.add_argument("--seeds", type=int, default=20)
    verb.add_argument("--strategies", nargs="+", default=["model", "greedy", "random"])
    verb.set_defaults(do=replay)
    verb = verbs.add_parser("enumerate")
    verb.add_argument("--datasets", type=int, default=20)
    verb.set_defaults(do=enumerate_all)
    verb = verbs.add_parser("plot")
    verb.add_argument("results", type=Path, nargs="+")
    verb.add_argument("--out", type=Path, required=True, help="folder for search_regret.png and .svg")
    verb.set_defaults(do=plot)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
