"""Compare the signs that tell beforehand whether merging will stand in for training.

Draws problems in which everything is known (`quadratics.py`), and ranks several signs that need no mixture
trained by how they order the problems' true fidelity: Spearman over problems, with the 95 % interval of a
bootstrap over problems. `python benchmarks/outlook.py --problems 200`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from quadratics import Problem, draw

from analysis.outlook import LOW, cut_factors, predicted_fidelity
from m2m.support.arrays import Floats

REACH = "reach: the predicted residual over the merged model's way (negative)"
#: Redraws of the problems for an interval.
_REDRAWS = 2000


def signs(problem: Problem) -> dict[str, float]:
    """Give the true fidelity of a problem and what each sign says of it, larger for better."""
    several, merged = problem.several, problem.merged
    change = -problem.coefficient * problem.curvature_covariance
    length, travel = (np.linalg.norm(rows, axis=1) for rows in (change, merged))
    moved = merged + cut_factors(length, travel)[:, None] * change
    before, after, truth = map(problem.score, (merged, moved, problem.trained))
    unit = problem.experts / np.linalg.norm(problem.experts, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return {
        "true r": float(np.corrcoef(before[several], truth[several])[0, 1]),
        "predicted r": _predicted(before[several], after[several]),
        REACH: -float(np.median((length / travel)[several])),
        "orthogonality (−mean |cosine|)": -float(np.mean(np.abs(cosines))),
        "alignment (mean cosine)": float(np.mean(cosines)),
        "spread of merged scores": float(np.std(before[several])),
    }


def table(found: list[Mapping[str, float]], seed: int) -> str:
    """Lay out how each sign orders the problems, and how often the predicted r is wrong."""
    rows = {name: np.array([row[name] for row in found]) for name in found[0]}
    truth = rows.pop("true r")
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(truth), size=(_REDRAWS, len(truth)))
    lines = [
        f"{len(truth)} problems, true r: lowest {truth.min():.2f}, median {np.median(truth):.2f}, "
        f"{np.mean(truth < LOW):.0%} below {LOW}",
        "| sign, no mixture trained | Spearman with true r | 95 % |",
        "| --- | --- | --- |",
    ]
    for name, sign in rows.items():
        redrawn = [_spearman(truth[rows_], sign[rows_]) for rows_ in draws]
        low, high = np.percentile(redrawn, [2.5, 97.5])
        lines.append(f"| {name} | {_spearman(truth, sign):.2f} | [{low:.2f}, {high:.2f}] |")
    low = truth < LOW
    for name, said in {
        f"predicted r below {LOW}": rows["predicted r"] < LOW,
        "reach above 1": rows[REACH] < -1,
    }.items():
        lines.append(
            f"{name}: {np.sum(said & low)} of {low.sum()} problems with r < {LOW}, "
            f"{np.sum(said & ~low)} of {np.sum(~low)} others"
        )
    return "\n".join(lines)


def _predicted(merged: Floats, moved: Floats) -> float:
    value, reason = predicted_fidelity(merged, moved)
    if value is None:
        raise ValueError(reason)
    return value


def _spearman(first: Floats, second: Floats) -> float:
    ranks = (np.argsort(np.argsort(values)) for values in (first, second))
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Draw the problems and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=80)
    parser.add_argument("--datasets", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    print(table([signs(draw(rng, args.datasets)) for _ in range(args.problems)], args.seed))


if __name__ == "__main__":
    main()
