"""Regret against evaluations: this project's search beside random, greedy, TPE and boosted trees.

python benchmarks/search.py run --out RESULTS.csv [--sizes 20 50 100] [--seeds 20] [--run RUN --target NAME]
python benchmarks/search.py table RESULTS.csv
python benchmarks/search.py plot RESULTS.csv --out regret.png
python benchmarks/search.py replay RUN [--budget 38] [--seeds 20]
python benchmarks/search.py regmix MIXTURES.csv LOSSES.csv [--budgets 40 80] [--seeds 20]

`run` adds rows to RESULTS.csv and leaves out what is there, so an interrupted run goes on. Regret is 0 at the
best subset and 1 at the base model, without noise; a strategy's pick is the best measured subset, or for
`model` the one its belief expects to be best. `replay` asks how often the best of all recorded merged scores
is found within the budget, and what the pick costs in the recorded true scores. `regmix` searches RegMix's
table of real runs: each strategy may look at so many rows, and its regret is that of the row it picks.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from landscapes import Problem, aligned, grown
from rivals import BoostedRounds, boosted

from m2m.mixture import Mixture
from m2m.searching import STRATEGIES, Evaluation, Objective, Pool, Strategy, Subsets
from m2m.searching.posterior import Posterior
from m2m.searching.quadratic import Floats
from m2m.surrogate import ScoreTable

#: Evaluations a dataset after which the pick is looked at.
CHECKPOINTS = (2, 4, 6, 8, 10)
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
    budget, optimum = CHECKPOINTS[-1] * n, problem.optimum()
    start = time.perf_counter()
    objective = Objective(problem.evaluate, higher_is_better=False)
    steps = strategy_of(name, budget).search(objective, problem.space, budget, seed).trajectory
    seconds = round(time.perf_counter() - start, 2)
    regrets = {m * n: problem.regret(pick(name, steps[: m * n]), optimum) for m in CHECKPOINTS}
    return [
        dict(zip(COLUMNS, (landscape, n, seed, name, evaluations, regret, seconds), strict=True))
        for evaluations, regret in regrets.items()
    ]


def run(args: argparse.Namespace) -> None:
    """Measure what RESULTS.csv does not have yet."""
    landscape = f"grown:{args.target}" if args.run else "aligned"
    done = set()
    if args.out.exists():
        table = pd.read_csv(args.out)
        done = set(zip(table.landscape, table.n, table.seed, table.strategy, strict=True))
    else:
        args.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for seed in range(args.first, args.seeds):
        for n in args.sizes:
            problem = grown(args.run, args.target, n, seed) if args.run else aligned(n, seed)
            for name in args.strategies:
                if (landscape, n, seed, name) in done:
                    continue
                rows = measure(problem, landscape, name, seed)
                with args.out.open("a", encoding="utf-8", newline="") as file:
                    csv.DictWriter(file, COLUMNS).writerows(rows)
                print(landscape, n, seed, name, rows[-1], file=sys.stderr, flush=True)


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
    """Search a finished run's merged scores; print a Markdown table."""
    print("| target | strategy | found within budget | median evaluations | true regret of the pick |")
    print("| --- | --- | --- | --- | --- |")
    for target in args.targets:
        surrogate, truth = recorded(args.run, target, "merged"), recorded(args.run, target, "trained")
        space = Subsets(next(iter(surrogate.values()))[0].datasets)
        losses = {mixture.key: loss for mixture, loss in surrogate.values()}
        objective = Objective(partial(_looked_up, losses), higher_is_better=False)
        for name in args.strategies:
            found, needed, regrets = [], [], []
            for seed in range(args.seeds):
                steps = STRATEGIES[name].search(objective, space, args.budget, seed).trajectory
                values = [step.value for step in steps]
                best = min(losses.values())
                found.append(best in values)
                needed.append(values.index(best) + 1 if best in values else args.budget)
                regrets.append(true_regret(steps[int(np.argmin(values))].mixture, truth))
            shown = f"{np.mean(found):.0%} | {np.median(needed):.0f} | {np.mean(regrets):.4f}"
            print(f"| {target} | {name} | {shown} |", flush=True)


def _looked_up(losses: dict[str, float], mixture: Mixture) -> float:
    return losses[mixture.key]


def recorded(run: Path, target: str, origin: str) -> dict[str, tuple[Mixture, float]]:
    """Read a run's losses of one target, by candidate."""
    with ScoreTable(run / "scores.sqlite") as table:
        rows = table.rows(origin=origin, task=target, split="validation", metric="loss")
    return {r.candidate: (Mixture(tuple(r.weights), tuple(r.weights.values())), r.value) for r in rows}


def true_regret(mixture: Mixture, truth: dict[str, tuple[Mixture, float]]) -> float:
    """Return a mixture's trained loss above the best one; nan unless all subsets were trained."""
    if len(truth) < 2 ** len(mixture.datasets) - 1:
        return float("nan")
    return truth[mixture.label][1] - min(loss for _, loss in truth.values())


def regmix(args: argparse.Namespace) -> None:
    """Search RegMix's table of real runs; print a Markdown table."""
    shares, losses = (pd.read_csv(path, index_col="index") for path in (args.mixtures, args.losses))
    losses = losses.loc[shares.index]
    points = shares.to_numpy() / shares.sum(axis=1).to_numpy()[:, None]
    pool = Pool([Mixture(tuple(shares), tuple(row)) for row in points.tolist()])
    print("| evaluations | strategy | mean regret, % of the range | found the best row |")
    print("| --- | --- | --- | --- |")
    for budget in args.budgets:
        for name in ("model", "regmix", "random"):
            regrets = []
            for column, seed in product(losses.columns, range(args.seeds)):
                values = losses[column].to_numpy()
                seen = rows_seen(name, pool, points, values, budget, seed)
                regrets.append((values[seen].min() - values.min()) / np.ptp(values))
            hits = np.mean(np.array(regrets) == 0)
            print(f"| {budget} | {name} | {100 * np.mean(regrets):.2f} | {hits:.0%} |", flush=True)


def rows_seen(name: str, pool: Pool, points: Floats, values: Floats, budget: int, seed: int) -> list[int]:
    """Return which rows a strategy looks at; RegMix's: random ones, then the best LightGBM predicts."""
    if name == "regmix":
        generator = np.random.default_rng(seed)
        seen = generator.permutation(len(points))[: budget - 1]
        predicted = boosted().fit(points[seen], values[seen]).predict(points)
        predicted[seen] = np.inf
        return [*seen.tolist(), int(predicted.argmin())]
    rows = {mixture.key: row for row, mixture in enumerate(pool)}
    objective = Objective(lambda mixture: float(values[rows[mixture.key]]), higher_is_better=False)
    steps = STRATEGIES[name].search(objective, pool, budget, seed).trajectory
    return [rows[step.mixture.key] for step in steps]


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
    verb.add_argument("--run", type=Path, help="grow the landscapes from this run instead")
    verb.add_argument("--target", default="protobuf")
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
    verb = verbs.add_parser("regmix")
    verb.add_argument("mixtures", type=Path)
    verb.add_argument("losses", type=Path)
    verb.add_argument("--budgets", type=int, nargs="+", default=[40, 80])
    verb.add_argument("--seeds", type=int, default=20)
    verb.set_defaults(do=regmix)
    verb = verbs.add_parser("plot")
    verb.add_argument("results", type=Path)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--landscape", default="aligned")
    verb.set_defaults(do=plot)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
