"""Shares of datasets: this project's search beside RegMix's procedure, on RegMix's own runs.

python benchmarks/search_simplex.py pool --data DIR [--budgets 40 80] [--seeds 20]
python benchmarks/search_simplex.py shares --data DIR --out RESULTS.csv [--sizes 4 8 12 17] [--seeds 26]
python benchmarks/search_simplex.py table RESULTS.csv

DIR holds `train_mixture_1m.csv` and `train_pile_loss_1m.csv` of github.com/sail-sg/regmix (MIT). `pool` looks
at the 512 runs themselves: a strategy may see so many rows, and its regret is that of the best it saw.

`shares` needs losses of any mixture, so it takes an emulator's: the family --emulator of docs/predicting.md,
fitted to all 512 runs. A search may choose shares of K of the 17 domains, drawn by the seed; the 13 targets
and their mean take turns. Evaluations are as noisy as the runs are around the emulator. Regret is without
noise: that of the pick above the lowest loss that descents find, in units of the range over corners, edge
middles and 200 random points. All get the same budget; RegMix's procedure spends it on Dirichlet rows, fits
LightGBM, and takes the mean of the 128 rows it likes best of 100,000.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from search import pick, regret_cell
from simplex_rival import regmix

from m2m.mixture import Mixture
from m2m.predicting import FAMILIES, Model
from m2m.searching import STRATEGIES, MixtureList, Objective, PredictorRounds, Simplex
from m2m.searching.simplex_optimum import lattice
from m2m.support.arrays import Floats

#: Budgets, in evaluations a domain.
MULTIPLES = (3, 6, 10)
#: What searches the table. RegMix's procedure there: random rows, then the one that the trees like best.
POOLED = {
    "model": STRATEGIES["model"],
    "regmix": PredictorRounds("lightgbm", proposed=1, rounds=1),
    "random": STRATEGIES["random"],
}
#: Name of the target that is the mean of all the others.
MEAN = "mean"
COLUMNS = ("emulator", "target", "k", "seed", "strategy", "evaluations", "regret", "seconds")


@lru_cache
def runs(folder: Path) -> tuple[tuple[str, ...], Floats, pd.DataFrame]:
    """Read RegMix's runs: the domains, the shares [512, 17] and the losses, with their mean as a column."""
    shares = pd.read_csv(folder / "train_mixture_1m.csv", index_col="index")
    losses = pd.read_csv(folder / "train_pile_loss_1m.csv", index_col="index").loc[shares.index]
    names = [name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in losses]
    losses = losses.set_axis(names, axis=1)
    points = shares.to_numpy() / shares.sum(axis=1).to_numpy()[:, None]
    domains = tuple(name.removeprefix("train_the_pile_") for name in shares)
    return domains, points, losses.assign(**{MEAN: losses.mean(axis=1)})


@lru_cache
def emulator(folder: Path, name: str, target: str) -> tuple[Model, float]:
    """Fit a family to all runs; return it with the deviation of what it does not explain."""
    _, points, losses = runs(folder)
    values = losses[target].to_numpy()
    model = FAMILIES[name].fit(points, values)
    return model, float(np.std(values - model.predict(points)))


@dataclass(frozen=True)
class Shares:
    """The loss of shares of K domains, by an emulator; lower is better.

    Attributes:
        model: The emulator, over all domains.
        domains: The names of all domains.
        chosen: The numbers of the K that may be used. [K]
        noise: Standard deviation of an evaluation's noise, the same whenever a mixture is asked for.
        seed: Seeds the noise.
    """

    model: Model
    domains: tuple[str, ...]
    chosen: tuple[int, ...]
    noise: float
    seed: int

    @property
    def space(self) -> Simplex:
        """All shares of the K domains."""
        return Simplex([self.domains[i] for i in self.chosen])

    def losses(self, points: Floats) -> Floats:
        """Return the true losses: [M, K] to [M]."""
        whole = np.zeros((len(points), len(self.domains)))
        whole[:, self.chosen] = points
        return self.model.predict(whole)

    def evaluate(self, mixture: Mixture) -> float:
        """Return the loss of a mixture with its noise."""
        generator = np.random.default_rng([self.seed, int(mixture.key, 16)])
        [loss] = self.losses(np.array([mixture.weights]))
        return float(loss) + self.noise * generator.standard_normal()

    def extremes(self) -> tuple[float, float]:
        """Return the lowest loss that exchanges of ever smaller shares lead to, and a start's highest."""
        k = len(self.chosen)
        generator = np.random.default_rng(0)
        starts = np.vstack([lattice(k), generator.dirichlet(np.ones(k), 200)])
        losses = self.losses(starts)
        ends = [self._exchange(start) for start in starts[losses.argsort()[:20]]]
        return min(ends), float(losses.max())

    def _exchange(self, point: Floats) -> float:
        k, step, best = len(point), 0.5, float(self.losses(point[None])[0])
        moves = (np.eye(k)[:, None] - np.eye(k)).reshape(-1, k)
        while step > 1e-4:
            near = point + step * moves
            near = near[(near >= 0).all(1)]
            losses = self.losses(near) if len(near) else np.array([np.inf])
            if losses.min() < best:
                point, best = near[losses.argmin()], float(losses.min())
            else:
                step /= 2
        return best


def shares(args: argparse.Namespace) -> None:
    """Measure what RESULTS.csv does not have yet."""
    domains, _, losses = runs(args.data)
    done = set()
    if args.out.exists():
        table = pd.read_csv(args.out)
        done = set(zip(table.emulator, table.k, table.seed, table.strategy, strict=True))
    else:
        args.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for seed, k in product(range(args.first, args.seeds), args.sizes):
        todo = [name for name in args.strategies if (args.emulator, k, seed, name) not in done]
        if not todo:
            continue
        target = losses.columns[seed % losses.shape[1]]
        model, noise = emulator(args.data, args.emulator, target)
        chosen = np.sort(np.random.default_rng([seed, k]).permutation(len(domains))[:k])
        problem = Shares(model, domains, tuple(chosen.tolist()), noise, seed)
        for name in todo:
            rows = [
                dict(zip(COLUMNS, (args.emulator, target, k, seed, name, *found), strict=True))
                for found in measure(problem, name, seed)
            ]
            with args.out.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerows(rows)
            print(rows[-1], file=sys.stderr, flush=True)


def measure(problem: Shares, name: str, seed: int) -> list[tuple[int, float, float]]:
    """Run one strategy; return evaluations, regret and CPU seconds at every budget."""
    k = len(problem.chosen)
    low, high = problem.extremes()
    budgets, start = [m * k for m in MULTIPLES], time.process_time()
    if name == "regmix":
        picks = [regmix(problem.evaluate, problem.space, budget, seed) for budget in budgets]
    else:
        objective = Objective(problem.evaluate, higher_is_better=False)
        steps = STRATEGIES[name].search(objective, problem.space, budgets[-1], seed).trajectory
        picks = [pick(name, steps[:budget]) for budget in budgets]
    seconds = round(time.process_time() - start, 2)
    losses = problem.losses(np.array([mixture.weights for mixture in picks]))
    regrets = ((losses - low) / (high - low)).tolist()
    return [(budget, regret, seconds) for budget, regret in zip(budgets, regrets, strict=True)]


def table(args: argparse.Namespace) -> None:
    """Print the regrets in % of the range as a Markdown table."""
    results = pd.read_csv(args.results)
    results["times"] = results.evaluations // results.k
    names = list(dict.fromkeys(results.strategy))
    print("| emulator | K | evaluations | " + " | ".join(names) + " |")
    print("| --- | --- | --- |" + " --- |" * len(names))
    for (kind, k, times), rows in results.groupby(["emulator", "k", "times"]):
        cells = [regret_cell(100 * rows[rows.strategy == name].regret) for name in names]
        print(f"| {kind} | {k} | {k * times} | " + " | ".join(cells) + " |")


def pool(args: argparse.Namespace) -> None:
    """Search the table of real runs; print a Markdown table."""
    domains, points, losses = runs(args.data)
    mixtures = MixtureList([Mixture(domains, tuple(row)) for row in points.tolist()])
    print("| rows looked at | strategy | regret, % of the range: mean (10 %, 50 %, 90 %) | best row found |")
    print("| --- | --- | --- | --- |")
    for budget, name in product(args.budgets, POOLED):
        regrets = []
        for column, seed in product(losses.columns.drop(MEAN), range(args.seeds)):
            values = losses[column].to_numpy()
            seen = rows_seen(name, mixtures, values, budget, seed)
            regrets.append((values[seen].min() - values.min()) / np.ptp(values))
        mean, hits = 100 * np.mean(regrets), np.mean(np.array(regrets) == 0)
        low, middle, high = 100 * np.quantile(regrets, [0.1, 0.5, 0.9])
        print(
            f"| {budget} | {name} | {mean:.2f} ({low:.2f}, {middle:.2f}, {high:.2f}) | {hits:.0%} |",
            flush=True,
        )


def rows_seen(name: str, mixtures: MixtureList, values: Floats, budget: int, seed: int) -> list[int]:
    """Return which rows a strategy looks at."""
    rows = {mixture.key: row for row, mixture in enumerate(mixtures)}
    objective = Objective(lambda mixture: float(values[rows[mixture.key]]), higher_is_better=False)
    steps = POOLED[name].search(objective, mixtures, budget, seed).trajectory
    return [rows[step.mixture.key] for step in steps]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("pool")
    verb.add_argument("--data", type=Path, required=True, metavar="DIR")
    verb.add_argument("--budgets", type=int, nargs="+", default=[40, 80])
    verb.add_argument("--seeds", type=int, default=20)
    verb.set_defaults(do=pool)
    verb = verbs.add_parser("shares")
    verb.add_argument("--data", type=Path, required=True, metavar="DIR")
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--emulator", default="power-laws")
    verb.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 12, 17])
    verb.add_argument("--first", type=int, default=0, help="first seed, to share the work")
    verb.add_argument("--seeds", type=int, default=28)
    verb.add_argument("--strategies", nargs="+", default=["model", "quadratic", "regmix", "random"])
    verb.set_defaults(do=shares)
    verb = verbs.add_parser("table")
    verb.add_argument("results", type=Path)
    verb.set_defaults(do=table)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
