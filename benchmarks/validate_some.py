"""What `validate = m` says beside the truth: complete runs replayed, with all but m mixtures hidden.

    python benchmarks/validate_some.py RUN … [--trainings 4 6] [--seeds 5] [--targets NAME …]

A replay is what `m2m run` does for one target: what is trained in any case is seen (merging's pick, all
datasets, the most similar ones, a random subset), then m trainings follow by `analysis.trust.course`, and the
best trained mixture is taken. Every seed is another design. Regrets, limits and r's interval are held against
the run's own truth, the means over its training seeds. A run that chose for several targets at once is
replayed for their utility first, then for each target that data can be similar to.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from analysis.trust import Landscape, Planned, of_run
from analysis.trust.course import judged, next_round, verdict
from analysis.trust.landscape import RANDOM
from m2m.mixture import Mixture
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.target_utility import METRIC, TargetUtility, utility_of
from m2m.scoring import most_similar
from m2m.scoring.table import ScoreTable

HEADER = (
    "target", "m", "seed", "merging's regret", "regret", "expected", "95 % limit", "held", "said within 5 %",
    "was", "r of all", "r said", "from", "r held",
)  # fmt: skip


def seen(landscapes: list[Landscape], rows: set[int], drawn: set[int]) -> list[Landscape]:
    """Hide all mixtures of two or more datasets but some rows."""
    shown = np.isin(np.arange(len(landscapes[0].mixtures)), list(rows)) | ~landscapes[0].several
    purposes = tuple(RANDOM if row in drawn else "" for row in range(len(shown)))
    return [
        replace(each, trained=np.where(shown, each.trained, np.nan), purposes=purposes) for each in landscapes
    ]


def replay(
    landscapes: list[Landscape], similar: list[str], most: int, seed: int
) -> tuple[list[Landscape], dict[str, object]]:
    """Train m mixtures for the first target, and judge.

    Args:
        landscapes: All truths, the one that is chosen for first.
        similar: The most similar datasets.
        most: m.
        seed: Seed of the design and of the random subset.

    Returns:
        What was seen, and what was said.
    """
    first = landscapes[0]
    rows = {mixture: row for row, mixture in enumerate(first.mixtures)}
    by_chance = random.Random(seed).choice(first.mixtures)
    datasets = first.mixtures[0].datasets
    chosen = {first.best(first.merged), rows[Mixture.subset(datasets, datasets)]}
    chosen |= {rows[Mixture.subset(datasets, similar)], rows[by_chance]}
    given = [rows[by_chance]] if len(by_chance.members) > 1 else []
    before: list[Planned] = []

    def shown() -> list[Landscape]:
        drawn = {*given, *(one.row for one in before if one.purpose == RANDOM)}
        return seen(landscapes, chosen | {one.row for one in before}, drawn)

    while (left := most - sum(not one.trained for one in before)) > 0:
        planned = next_round(shown(), before, left, given, seed=seed).planned
        if not planned:
            break
        before += planned
    return shown(), verdict(judged(shown(), seed=seed))


def problems(run: Path) -> Iterator[tuple[list[Landscape], list[str]]]:
    """Read what a complete run could have chosen for.

    Yields:
        tuple: All truths, the one that is chosen for first; and the datasets that are most similar to it.
    """
    results = RunFolder(run).read_results("similarities", "similarity")
    similarities, found = results["similarities"], of_run(run)
    if (utility := utility_of(results)) is not None:
        by_target = {each.target: each for each in found}
        yield [_of_utility(run, utility, by_target), *found], results["similarity"]
    for first in (each for each in found if each.target in similarities):
        others = (each for each in found if each is not first)
        yield [first, *others], most_similar(similarities[first.target])


def _of_utility(run: Path, utility: TargetUtility, by_target: dict[str, Landscape]) -> Landscape:
    with ScoreTable(RunFolder(run).table, read_only=True) as table:
        rows = table.rows(origin="base", split="validation")
    base = {row.task: row.value for row in rows if row.metric == by_target[row.task].metric}
    alike = by_target[next(iter(utility.weights))]
    merged = utility.of({name: by_target[name].merged for name in utility.weights}, base)
    trained = utility.of({name: by_target[name].measured for name in utility.weights}, base)
    return Landscape(alike.mixtures, merged, trained[None], target=METRIC, metric=METRIC)


def replays(run: Path, trainings: list[int], seeds: int, targets: list[str]) -> Iterator[list[object]]:
    """Replay a complete run, and yield `HEADER`'s values."""
    for landscapes, similar in problems(run):
        first = landscapes[0]
        if targets and first.target not in targets:
            continue
        truth = first.measured
        if np.isnan(truth).any():
            raise SystemExit(f"{run}: not every mixture is trained: wanted a run with validate = true")
        lost = np.abs(truth - truth[first.best(truth)])
        r = np.corrcoef(first.merged[first.several], truth[first.several])[0, 1]
        for most, seed in product(trainings, range(seeds)):
            shown, said = replay(landscapes, similar, most, seed)
            regret, taken = lost[shown[0].best(shown[0].measured)], said["pick"]
            within, pearson = regret <= 0.05 * np.ptp(truth), said["pearson"]
            yield [
                first.target, most, seed, lost[first.best(first.merged)], regret, taken["regret"],
                taken["limit"], regret <= taken["limit"] + 1e-12, taken["within"], within,
                r, _interval(pearson), pearson["n"], _holds(pearson, r),
            ]  # fmt: skip


def _holds(estimate: dict[str, float | None], value: float) -> str:
    low, high = estimate["low"], estimate["high"]
    return "–" if low is None or high is None else str(low <= value <= high)


def _interval(estimate: dict[str, float | None]) -> str:
    if estimate["value"] is None or estimate["low"] is None:
        return "–"
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def main() -> None:
    """Replay and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="complete run folders")
    parser.add_argument("--trainings", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--targets", nargs="+", default=[], help="targets to choose for; all")
    args = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n| --- |" + " ---: |" * (len(HEADER) - 1))
    rows = []
    for run in args.runs:
        for row in replays(run, args.trainings, args.seeds, args.targets):
            cells = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
            print(f"| {' | '.join(cells)} |", flush=True)
            rows.append(row)
    for most in args.trainings:
        of_most = [row for row in rows if row[1] == most]
        means = {HEADER[at]: np.mean([float(row[at]) for row in of_most]) for at in (3, 4, 5, 6, 7, 8, 9)}
        print(f"m = {most}, means of {len(of_most)}:", {name: f"{mean:.4f}" for name, mean in means.items()})


if __name__ == "__main__":
    main()
