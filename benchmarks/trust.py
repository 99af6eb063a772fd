"""What few trainings are worth: complete truths replayed, with all but m mixtures hidden.

    python benchmarks/trust.py [--runs RUN …] [--trainings 4 8 16 24] [--designs half random top next]
                               [--landscapes 16] [--rounds 1] [--alone]

Without runs, landscapes are made: gradient descent on quadratic losses, N = 8, 255 mixtures. A row says, as
shares of the range of true scores, below what 95 % of the picks' regrets were, their mean, the limit that was
said to hold with 95 % and how often it did; what probability of being within 5 % of the best was said, and
how often that was so; beside the regret of merging's own pick and of the best that was trained. Designs:
`half` is `analysis.trust.design`; `random` and `top` put the whole budget on one kind; `next` trains half of
the budget by design and then what `next_training` says.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from quadratics import descended, hessian

from analysis.trust import Belief, Landscape, agreement, believe, design, next_training, of_run
from analysis.trust.choice import choice, pick
from m2m.mixture import all_subsets
from m2m.support.arrays import Floats, Ints

Landscapes = list[Landscape]
HEADER = (
    "design", "m", "95 % of regrets", "regret", "95 % limit", "held", "said within 5 %", "was",
    "regret of merging's pick", "of best trained", "95 % intervals of mixtures held", "r's interval held",
    "its width",
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """A landscape with every mixture trained, and its true scores [C], free of training noise if known."""

    landscape: Landscape
    scores: Floats

    def seen(self, rows: Ints) -> Landscape:
        """Hide all mixtures of two or more datasets but some rows."""
        shown = ~self.landscape.several
        shown[rows] = True
        return replace(self.landscape, trained=np.where(shown, self.landscape.trained, np.nan))


#: What is seen of each target's truth for a budget and a seed.
Design = Callable[[Sequence[Truth], int, int], Landscapes]


def quadratics(seed: int, datasets: int = 8, parameters: int = 30, noise: float = 0.02) -> Truth:
    """Train on quadratic losses to a finite horizon, where merging and training differ at every order.

    Args:
        seed: Decides everything: how alike the losses' curvatures and minima are, step size and horizon.
        datasets: N.
        parameters: P.
        noise: A training's, in standard deviations of true scores.

    Returns:
        The landscape, scored by −log(1 + target's loss).
    """
    rng = np.random.default_rng([seed, datasets])
    steps, rate = int(rng.choice([5, 20, 80])), float(rng.choice([0.5, 0.9]))
    alike = float(rng.choice([0.0, 0.5]))
    common = hessian(rng, parameters)
    curvatures = []
    for _ in range(datasets):
        own = alike * common + (1 - alike) * hessian(rng, parameters)
        curvatures.append(own / np.linalg.norm(own, 2))
    hessians, centre = np.array(curvatures), rng.standard_normal(parameters)
    minima = centre / 2 + rng.standard_normal((datasets, parameters))
    pulls = np.einsum("kpq,kq->kp", hessians, minima)
    goal = rng.dirichlet(np.full(datasets, 0.5)) @ minima + 0.3 * rng.standard_normal(parameters)
    metric = hessian(rng, parameters)
    mixtures = tuple(all_subsets([f"d{k}" for k in range(datasets)]))
    weights = np.array([mixture.weights for mixture in mixtures])
    ends = np.array([descended(np.tensordot(w, hessians, 1), -(w @ pulls), rate, steps) for w in weights])

    def score(points: Floats) -> Floats:
        off = points - goal
        return np.asarray(-np.log1p(np.einsum("cp,pq,cq->c", off, metric, off)))

    true = score(ends)
    luck = noise * np.std(true) * rng.standard_normal(len(true))
    single = np.max(weights, axis=1) == 1
    merged = np.where(single, true + luck, score(weights @ ends[:datasets]))
    return Truth(Landscape(mixtures, merged, (true + luck)[None]), true)


def of_runs(folders: Sequence[Path]) -> list[list[Truth]]:
    """Read complete runs; the true score is the mean over training seeds. A list of targets a run."""
    found = []
    for folder in folders:
        landscapes = of_run(folder)
        for landscape in landscapes:
            if np.isnan(landscape.measured).any():
                raise SystemExit(f"{folder}: not every mixture is trained: wanted a run with validate = true")
        found.append([Truth(landscape, landscape.measured) for landscape in landscapes])
    return found


def half(truths: Sequence[Truth], budget: int, seed: int) -> Landscapes:
    """Train what `design` says, and remember what was drawn by chance."""
    landscapes = [truth.landscape for truth in truths]
    merged = np.stack([each.merged for each in landscapes])
    better = [each.higher_is_better for each in landscapes]
    planned = design(merged, landscapes[0].mixtures, budget, seed, higher_is_better=better)
    purposes = {one.row: one.purpose for one in planned}
    labels = tuple(purposes.get(row, "") for row in range(merged.shape[1]))
    rows = np.array(list(purposes))
    return [replace(truth.seen(rows), purposes=labels) for truth in truths]


def at_random(truths: Sequence[Truth], budget: int, seed: int) -> Landscapes:
    """Train a simple random sample."""
    several = np.flatnonzero(truths[0].landscape.several)
    rows = np.random.default_rng(seed).choice(several, budget, replace=False)
    return [truth.seen(rows) for truth in truths]


def the_top(truths: Sequence[Truth], budget: int, seed: int) -> Landscapes:
    """Train the best by merging, by turns over targets."""
    several = truths[0].landscape.several
    signed = [t.landscape.merged if t.landscape.higher_is_better else -t.landscape.merged for t in truths]
    turns = [iter(np.argsort(np.where(several, -scores, np.inf))) for scores in signed]
    rows: list[int] = []
    while len(rows) < budget:
        rows.append(next(int(row) for row in turns[len(rows) % len(turns)] if row not in rows))
    return [truth.seen(np.array(rows)) for truth in truths]


def one_by_one(truths: Sequence[Truth], budget: int, seed: int) -> Landscapes:
    """Train half of the budget by design, and then what is expected to shrink regret most."""
    landscapes = half(truths, max(budget // 2, 2), seed)
    while (trained := landscapes[0].trained_several) < budget:
        following = next_training(believe(landscapes, seed + trained))
        if following is None:
            break
        rows = np.append(np.flatnonzero(np.isfinite(landscapes[0].measured)), following.row)
        landscapes = [truth.seen(rows) for truth in truths]
    return landscapes


DESIGNS: dict[str, Design] = {"half": half, "random": at_random, "top": the_top, "next": one_by_one}


def replayed(
    truths: Sequence[Truth], design: Design, budget: int, seed: int, *, alone: bool = False
) -> list[Floats]:
    """Hide, believe, pick, compare with the truth: `HEADER`'s numbers from regret on, a row a target."""
    landscapes = design(truths, budget, seed)
    groups = [[each] for each in landscapes] if alone else [landscapes]
    beliefs = [belief for group in groups for belief in believe(group, seed)]
    return [_row(truth, belief) for truth, belief in zip(truths, beliefs, strict=True)]


def _row(truth: Truth, belief: Belief) -> Floats:
    landscape, scores = belief.landscape, truth.scores
    lost = scores.max() - scores if landscape.higher_is_better else scores - scores.min()
    lost = lost / np.ptp(scores)
    taken = choice(belief, pick(belief))
    limit, regret = taken.limit / np.ptp(scores), lost[taken.row]
    hidden = landscape.several & np.isnan(landscape.measured)
    low, high = np.quantile(belief.draws[:, hidden], [0.025, 0.975], axis=0)
    held = np.mean((low <= scores[hidden]) & (scores[hidden] <= high)) if hidden.any() else np.nan
    found = agreement(landscape)
    r_held, width = np.nan, np.nan
    if found.low is not None and found.high is not None:
        several = landscape.several
        r = np.corrcoef(landscape.merged[several], scores[several])[0, 1]
        r_held, width = float(found.low <= r <= found.high), found.high - found.low
    by_merging, measured = landscape.best(landscape.merged), landscape.best(landscape.measured)
    return np.array(
        [
            regret, limit, regret <= limit + 1e-9, taken.within["0.05"], regret <= 0.05, lost[by_merging],
            lost[measured], held, r_held, width,
        ]
    )  # fmt: skip


def main() -> None:
    """Replay and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="complete run folders")
    parser.add_argument("--trainings", type=int, nargs="+", default=[4, 8, 16, 24])
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--landscapes", type=int, default=16, help="made, if there are no runs")
    parser.add_argument("--rounds", type=int, default=1, help="designs drawn for each truth")
    parser.add_argument("--alone", action="store_true", help="believe in each target by itself")
    args = parser.parse_args()
    truths = of_runs(args.runs) if args.runs else [[quadratics(seed)] for seed in range(args.landscapes)]
    print("| " + " | ".join(HEADER) + " |\n| --- |" + " ---: |" * (len(HEADER) - 1))
    for name in args.designs:
        for budget in args.trainings:
            rows = [
                row
                for together in truths
                for seed in range(args.rounds)
                if budget <= together[0].landscape.several.sum()
                for row in replayed(together, DESIGNS[name], budget, seed, alone=args.alone)
            ]
            if rows:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the mean of no numbers
                    means = np.nanmean(rows, axis=0)
                numbers = [np.quantile([row[0] for row in rows], 0.95), *means]
                cells = [f"{number:.3f}" if np.isfinite(number) else "–" for number in numbers]
                print(f"| {name} | {budget} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
