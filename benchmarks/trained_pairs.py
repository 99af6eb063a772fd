"""What correcting merged scores by trained pairs is worth: complete truths, with only the pairs shown.

    python benchmarks/trained_pairs.py [--runs RUN …] [--landscapes 24] [--datasets 6]

Without runs, landscapes are made: gradient descent on quadratic losses. A row is a target, or the mean over
the made landscapes: correlations with true scores over mixtures of three or more datasets, merged, corrected;
the root mean square error there, in standard deviations of the true scores; and regrets as shares of their
range, of merging's pick, of the corrected one, of the best trained of all pairs (single datasets are free),
and of the best trained if as many trainings go to the mixtures of two or more that merge best.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats
from trust import Truth, of_runs, quadratics

from analysis.trust import scheffe
from m2m.support.arrays import Floats

HEADER = (
    "target", "r", "corrected", "ρ", "corrected", "error", "corrected", "regret", "corrected",
    "best of pairs", "best of as many top",
)  # fmt: skip


def row(truth: Truth) -> Floats:
    """Compare on one target: `HEADER`'s numbers."""
    landscape, scores = truth.landscape, truth.scores
    sizes = np.sum(landscape.weights > 0, axis=1)
    pairs, large = sizes == 2, sizes > 2
    seen = replace(landscape, trained=np.where(pairs, landscape.trained, np.nan))
    corrected, merged = scheffe(seen), landscape.merged
    lost = scores.max() - scores if landscape.higher_is_better else scores - scores.min()
    order = np.argsort(-merged if landscape.higher_is_better else merged, kind="stable")
    top = [place for place in order if sizes[place] > 1][: int(pairs.sum())]
    regrets = [
        lost[landscape.best(merged)],
        lost[landscape.best(corrected)],
        lost[landscape.best(np.where(sizes <= 2, scores, np.nan))],
        min(lost[top].min(), lost[sizes == 1].min()),
    ]
    return np.array(
        [
            *(stats.pearsonr(found[large], scores[large])[0] for found in (merged, corrected)),
            *(stats.spearmanr(found[large], scores[large])[0] for found in (merged, corrected)),
            *(
                np.sqrt(np.mean((found - scores)[large] ** 2)) / np.std(scores)
                for found in (merged, corrected)
            ),
            *(np.array(regrets) / np.ptp(scores)),
        ]
    )


def told(name: str, numbers: Sequence[float]) -> str:
    """Write one row of the table."""
    return f"| {name} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |"


def main() -> None:
    """Compare and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="complete run folders")
    parser.add_argument("--landscapes", type=int, default=24, help="made, if there are no runs")
    parser.add_argument("--datasets", type=int, default=6, help="of the made landscapes")
    args = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |\n| --- |" + " ---: |" * (len(HEADER) - 1))
    for folder, truths in zip(args.runs, of_runs(args.runs), strict=True):
        rows = np.array([row(truth) for truth in truths])
        for truth, numbers in zip(truths, rows, strict=True):
            print(told(truth.landscape.target, numbers.tolist()))
        print(told(f"{folder.name}, mean", rows.mean(axis=0).tolist()))
    if not args.runs:
        made = [row(quadratics(seed, args.datasets)) for seed in range(args.landscapes)]
        print(told(f"{args.landscapes} made, N = {args.datasets}, mean", np.mean(made, axis=0).tolist()))


if __name__ == "__main__":
    main()
