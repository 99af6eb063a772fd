"""Race again and again on the recorded scores of a finished run: how often right, how cheap, how honest.

python benchmarks/racing.py RUN [--budget 0.2] [--seeds 200] [--out TABLE.json]

Every merged candidate of a run folder was scored on every example, so the true winner is known. For each
target and metric, the table says, over seeds of the order of examples:

* right: share of races whose winner is the true one, or ties with it exactly;
* tied: share whose winner is statistically tied with the true one: the 95 % paired t-interval of the
  difference of the two over all examples includes 0;
* used: example evaluations, as a share of all; merges: models merged, for M of an exhaustive run;
* said: mean probability that the races stated for "my winner has the best score";
* held: share of races whose contenders, at 95 %, include a true best one;
* regret: mean loss in the metric against the true winner, in the metric's unit.

Then the stated probabilities of all races are held against what happened.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from m2m.pipeline.run_folder import RunFolder
from m2m.scoring import RecordedCandidates, race
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats

#: Edges of the groups of stated probabilities.
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0)


def recorded(run: Path) -> dict[str, Floats]:
    """Read the merged candidates' validation scores, turned so that higher is better: by task, [M, E]."""
    rows = defaultdict(list)
    with ScoreTable(RunFolder(run).table) as table:
        for row in table.rows(origin="merged", split="validation"):
            rows[f"{row.task} {row.metric}"].append(row.examples if row.higher_is_better else -row.examples)
    return {name: np.stack(scores) for name, scores in rows.items() if len(scores) > 1}


def tied_with_best(scores: Floats) -> NDArray[np.bool_]:
    """Say which candidates' 95 % paired t-interval of the difference to the best includes 0: [M]."""
    examples = scores.shape[1]
    gaps = scores[scores.mean(axis=1).argmax()] - scores
    half = t.ppf(0.975, examples - 1) * gaps.std(axis=1, ddof=1) / np.sqrt(examples)
    tied: NDArray[np.bool_] = gaps.mean(axis=1) - half <= 0
    return tied


def races(scores: Floats, budget: float, seeds: int) -> list[dict[str, float]]:
    """Race once a seed, and hold each result against the whole table."""
    candidates = RecordedCandidates(scores, higher_is_better=True)
    means, tied = scores.mean(axis=1), tied_with_best(scores)
    best = means >= means.max() - 1e-12 * abs(means.max())
    results = []
    for seed in range(seeds):
        result = race(candidates, budget, seed=seed)
        results.append(
            {
                "right": float(best[result.winner]),
                "tied": float(tied[result.winner]),
                "used": result.evaluations / scores.size,
                "merges": float(result.merges),
                "said": result.probability,
                "held": float(best[list(result.contenders)].any()),
                "regret": float(means.max() - means[result.winner]),
            }
        )
    return results


def reliability(results: list[dict[str, float]]) -> list[dict[str, float]]:
    """Group races by stated probability: how many, what they said on average, how often they were right."""
    groups = np.digitize([one["said"] for one in results], EDGES[1:-1])
    table = []
    for group in sorted({int(g) for g in groups}):
        members = [one for one, g in zip(results, groups, strict=True) if g == group]
        table.append(
            {
                "from": EDGES[group],
                "to": EDGES[group + 1],
                "races": len(members),
                "said": float(np.mean([one["said"] for one in members])),
                "right": float(np.mean([one["right"] for one in members])),
            }
        )
    return table


def main() -> None:
    """Print the tables, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--budget", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keys = ("right", "tied", "used", "merges", "said", "held", "regret")
    print("| target, metric | M | E |", *(f"{key} |" for key in keys))
    print("|---|---|---|" + "---|" * len(keys))
    rows, everything = {}, []
    for name, scores in recorded(args.run).items():
        results = races(scores, args.budget, args.seeds)
        rows[name] = {key: float(np.mean([one[key] for one in results])) for key in keys}
        print(
            f"| {name} | {scores.shape[0]} | {scores.shape[1]} |",
            *(f"{rows[name][key]:.3g} |" for key in keys),
        )
        everything += results
    groups = reliability(everything)
    print("\n| stated probability | races | said | right |\n|---|---|---|---|")
    for group in groups:
        print(
            f"| {group['from']:g} to {group['to']:g} | {group['races']} |",
            f"{group['said']:.3f} | {group['right']:.3f} |",
        )
    if args.out:
        args.out.write_text(json.dumps({"tasks": rows, "reliability": groups}, indent=2) + "\n")


if __name__ == "__main__":
    main()
