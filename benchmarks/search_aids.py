"""What helps a search, on the recorded scores of a run: racing underneath, and a prior from curvature.

python benchmarks/search_aids.py race RUN --targets NAME ... [--budget 12] [--seeds 20]
python benchmarks/search_aids.py prior RUN --priors CURVATURE.json ... [--budget 12] [--seeds 20]

`race`: the share of all example evaluations that a race needed, mean over seeds (a seed draws the order of
the examples and the strategy's own chances), and how often it picked what full scores pick.
`prior`: evaluations until `model` finds the best merged loss, without and with the quadratic model that
`m2m-analysis curvature RUN --target NAME` wrote; budget + 1 where it was not found.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from m2m.predicting.validation import spearman
from m2m.searching import STRATEGIES, ModelBased, Objective, QuadraticPrior, Subsets
from m2m.verbs.search.objective import open_race, read_prior
from m2m.verbs.search.recorded import open_recorded
from m2m.verbs.search.source import Asked, Source

STRATEGY_NAMES = ("exhaustive", "model", "greedy")


def race(args: argparse.Namespace) -> None:
    """Print a row a target and strategy."""
    print("| target | strategy | example evaluations | same pick |\n| --- | --- | --- | --- |")
    for target in args.targets:
        source = recorded(args.run, target)
        for name in STRATEGY_NAMES:
            budget = None if name == "exhaustive" else args.budget
            shares, same = zip(
                *(raced(source, target, name, budget, seed) for seed in range(args.seeds)), strict=True
            )
            cells = f"{100 * np.mean(shares):.0f} % | {sum(same)} of {args.seeds}"
            print(f"| {target} | {name} | {cells} |", flush=True)


def raced(source: Source, target: str, name: str, budget: int | None, seed: int) -> tuple[float, bool]:
    """Return the share of the example evaluations that a race needed, and whether its pick is the same."""
    space, strategy = Subsets(source.datasets), STRATEGIES[name]
    full = Objective(lambda mixture: source.scores(mixture)[target], source.higher_is_better[target])
    run = open_race(source, [target], seed)
    picked = strategy.search(run.objective, space, budget, seed).best
    share = run.raced.evaluations / run.all_evaluations
    return share, picked.key == strategy.search(full, space, budget, seed).best.key


def prior(args: argparse.Namespace) -> None:
    """Print a row a prior."""
    print("| target | prior's Spearman | without | with |\n| --- | --- | --- | --- |")
    for path in args.priors:
        target = json.loads(path.read_text(encoding="utf-8"))["quadratic"]["target"]
        source = recorded(args.run, target)
        known = read_prior(path, source, [target])
        losses = {mixture: source.scores(mixture)[target] for mixture in Subsets(source.datasets)}
        points = np.array([mixture.weights for mixture in losses])
        cells = [f"{spearman(known.at(points), np.array([*losses.values()])):.3f}"]
        for help_ in (None, known):
            needed = [needed_by(source, target, help_, args.budget, seed) for seed in range(args.seeds)]
            low, middle, high = np.quantile(needed, [0.1, 0.5, 0.9])
            cells.append(f"{np.mean(needed):.1f} ({low:.0f}, {middle:.0f}, {high:.0f})")
        print(f"| {target} | {' | '.join(cells)} |", flush=True)


def needed_by(source: Source, target: str, known: QuadraticPrior | None, budget: int, seed: int) -> int:
    """Return how many evaluations `model` takes to find the best."""
    space = Subsets(source.datasets)
    best = min(source.scores(mixture)[target] for mixture in space)
    objective = Objective(lambda mixture: source.scores(mixture)[target], higher_is_better=False)
    steps = ModelBased(prior=known).search(objective, space, budget, seed).trajectory
    values = [step.value for step in steps]
    return values.index(best) + 1 if best in values else budget + 1


def recorded(run: Path, target: str) -> Source:
    """Read a run's merged validation losses on one target."""
    return open_recorded(Asked(run=run, metric="loss", targets=[target]))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for part in (race, prior):
        verb = verbs.add_parser(part.__name__)
        verb.set_defaults(part=part)
        verb.add_argument("run", type=Path)
        verb.add_argument("--budget", type=int, default=12)
        verb.add_argument("--seeds", type=int, default=20)
        if part is race:
            verb.add_argument("--targets", nargs="+", required=True)
        else:
            verb.add_argument("--priors", nargs="+", type=Path, required=True, metavar="CURVATURE.json")
    args = parser.parse_args()
    args.part(args)


if __name__ == "__main__":
    main()
