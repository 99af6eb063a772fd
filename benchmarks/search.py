"""Regret against evaluations: this project's search beside random, greedy, TPE and boosted trees.

python benchmarks/search.py run --out RESULTS.csv [--sizes 20 50 100] [--seeds 20] [--grow RUN:TARGET ...]
python benchmarks/search.py table RESULTS.csv
python benchmarks/search.py plot RESULTS.csv --out regret.png
python benchmarks/search.py replay RUN [--budget 38] [--seeds 20]

`run` adds rows to RESULTS.csv and leaves out what is there, so an interrupted run goes on. Its landscapes
are `aligned`, or with --grow those grown from real runs, which take turns from seed to seed. Regret has no
noise in it: 0 at the best subset, and 1 at the base model (`aligned`) or when as large as the range of the
real run's trained losses (grown). A strategy's pick is the best measured subset, or for `model` the one its
belief expects to be best; seconds are of CPU. `replay` searches the merged scores of a run with every subset
trained: how often the best of all is found within the budget, and what the pick costs in trained scores.
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
from rivals import BoostedRounds

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.predicting.validation import spearman
from m2m.searching import STRATEGIES, Evaluation, Objective, Strategy, Subsets
from m2m.searching.posterior import Posterior
from m2m.surrogate import ScoreTable

#: Evaluations a dataset after which the pick is looked at.
CHECKPOINTS = (2, 4, 6, 8, 10)
#: A mixture, the loss of its merged model, and its own when really trained.
Pair = tuple[Mixture, float, float]
COLUMNS = ("landscape", "n", "seed", "strategy", "evaluations", "regret", "seconds")


def strategy_of(name: str, budget: int) -> Strategy:
    """Make a strategy by name."""
    return BoostedRounds(budget) if name == "lightgbm" else STRATEGIES[name]


def pick(name: str, steps: tuple[Evaluation, ...]) -> Mixture:
    """Return what a strategy would choose after these evaluations."""
    losses = np.array([step.value for step in steps])
    if name == "model":
        losses = Posterior(np.array([step.mixture.weights for step in steps]), losses).predicted()
    return steps[int(losses.argmin())].mixture


def measure(problem: Problem, landscape: str, name: str, seed: int) -> list[dict[str, object]]:
    """Run one strategy on one landscape; a row a checkpoint."""
    n = len(problem.space.datasets)
    budget = CHECKPOINTS[-1] * n
    start = time.process_time()
    objective = Objective(problem.evaluate, higher_is_better=False)
    steps = strategy_of(name, budget).search(objective, problem.space, budget, seed).trajectory
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
    """Print mean and quantiles of the regret as a Markdown table."""
    results = pd.read_csv(args.results)
    print(
        "| landscape | N | evaluations | strategy | seeds | mean | 10 % | median | 90 % | worst | seconds |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    groups = results.groupby(["landscape", "n", "evaluations", "strategy"])
    for (landscape, n, evaluations, name), rows in groups:
        if evaluations // n in args.multiples:
            r = rows.regret
            cells = [r.mean(), *r.quantile([0.1, 0.5, 0.9]), r.max()]
            shown = " | ".join(f"{cell:.3f}" for cell in cells)
            seconds = rows.seconds.median()
            print(f"| {landscape} | {n} | {evaluations} | {name} | {len(r)} | {shown} | {seconds:.0f} |")


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
    """Draw the median regret against evaluations, with the 10 % and 90 % quantiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = pd.read_csv(args.results)
    results = results[results.landscape == args.landscape]
    sizes = sorted(results.n.unique())
    figure, axes = pyplot.subplots(1, len(sizes), figsize=(3.4 * len(sizes), 3.2), sharey=True, squeeze=False)
    for axis, n in zip(axes[0], sizes, strict=True):
        for name, rows in results[results.n == n].groupby("strategy"):
            spread = rows.groupby("evaluations").regret.quantile([0.1, 0.5, 0.9]).unstack().clip(lower=1e-4)
            axis.plot(spread.index, spread[0.5], marker="o", ms=3, label=name)
            axis.fill_between(spread.index, spread[0.1], spread[0.9], alpha=0.15)
        axis.set(title=f"N = {n}", xlabel="evaluations", yscale="log")
    axes[0][0].set_ylabel("regret (base model = 1)")
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(args.out, dpi=150)


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
    verb.add_argument("--strategies", nargs="+", default=["model", "random", "greedy", "tpe", "lightgbm"])
    verb.add_argument(
        "--grow", nargs="+", metavar="RUN:TARGET", help="grow the landscapes from these instead"
    )
    verb.set_defaults(do=run)
    verb = verbs.add_parser("table")
    verb.add_argument("results", type=Path)
    verb.add_argument("--multiples", type=int, nargs="+", default=[6, 10], help="evaluations a dataset")
    verb.set_defaults(do=table)
    verb = verbs.add_parser("replay")
    verb.add_argument("run", type=Path)
    verb.add_argument("--targets", nargs="+", required=True)
    verb.add_argument("--budget", type=int, default=38)
    verb.add_argument("--seeds", type=int, default=20)
    verb.add_argument("--strategies", nargs="+", default=["model", "greedy", "random"])
    verb.set_defaults(do=replay)
    verb = verbs.add_parser("plot")
    verb.add_argument("results", type=Path)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--landscape", default="aligned")
    verb.set_defaults(do=plot)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
