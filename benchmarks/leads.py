"""When does a merged model know more than its members' own scores?

Quadratic losses and a quadratic target, in which everything is known (`quadratics.py`). Let a be the
members' mean gain, J = ½ Σ_{k<j} λ_kλ_j (τ_k − τ_j)ᵀM(τ_k − τ_j) what merging adds to it (M: the target's
Hessian), and R = merged − trained what training takes away. Then correlations of merged scores, a + J, and of
the members' mean, a, with trained scores, a + J − R, depend on nothing else (docs/theory.md). One thing is
varied at a time: how far experts are trained, how alike their directions are, how much of a Hessian is a
dataset's own, and how far away the target lies.

    python benchmarks/leads.py --out DIR [--problems 30] [--runs RUN …]

writes `leads.csv`, a row a problem, draws `leads.png`, and prints how often the sign of merging's lead over
the members' mean is foretold, by Var J > 2 Cov(J, R) and with R of second-order theory. Of complete runs it
prints the same numbers a target, J and R from their scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from combined import Truth
from quadratics import descended, hessian, subsets

from analysis.trust import of_run
from m2m.support.arrays import Floats
from paper_figs.merge_to_mix import leads

#: N and P.
DATASETS, PARAMETERS = 5, 20
#: η in units of 1/‖H‖.
RATE = 0.5
#: Second-order theory holds up to about here, in units of 1/‖H‖.
NEAR = 4.0


@dataclass(frozen=True)
class Setting:
    """What is varied, and the middle that all else stays at.

    Attributes:
        steps: T.
        alike: Share of the datasets' minima that is common, about the cosine of two experts.
        own: Share of a Hessian that is a dataset's own.
        far: Distance of the target from the datasets' minima, in deviations of those.
    """

    steps: int = 16
    alike: float = 0.3
    own: float = 0.5
    far: float = 1.0


#: Every setting with one thing varied.
STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
VARIED = {"alike": (0.0, 0.5, 0.9), "own": (0.0, 0.5, 1.0), "far": (0.0, 1.0, 4.0)}


@dataclass(frozen=True)
class Gains:
    """Scores of a problem's mixtures of two datasets or more, higher is better. [M] each.

    Attributes:
        mean: The members' mean gain a.
        best: The best member's.
        added: J, what the merged model has beyond the mean.
        lost: R, what the trained model lacks to the merged one.
        foretold: R of second-order theory: Δ = −cC.
    """

    mean: Floats
    best: Floats
    added: Floats
    lost: Floats
    foretold: Floats


def draw(rng: np.random.Generator, setting: Setting) -> Gains:
    """Draw datasets and a target, train every subset, and score all of it."""
    common = hessian(rng, PARAMETERS)
    hessians = np.stack([_mixed(common, rng, setting.own) for _ in range(DATASETS)])
    place = rng.normal(size=PARAMETERS)
    own = rng.normal(size=(DATASETS, PARAMETERS))
    minima = np.sqrt(setting.alike) * place + np.sqrt(1 - setting.alike) * own
    shares = subsets(DATASETS)
    mixed, slopes = np.tensordot(shares, hessians, 1), -shares @ np.einsum("kij,kj->ki", hessians, minima)
    ends = np.stack([descended(h, g, RATE, setting.steps) for h, g in zip(mixed, slopes, strict=True)])
    target = rng.dirichlet(np.full(DATASETS, 0.5)) @ minima + setting.far * rng.normal(size=PARAMETERS)
    metric = _unit(hessian(rng, PARAMETERS))

    def score(x: Floats) -> Floats:
        return np.asarray(-0.5 * np.einsum("mi,ij,mj->m", x - target, metric, x - target))

    bent = np.einsum("kij,kj->ki", hessians, slopes[:DATASETS])
    residual = shares @ bent - np.einsum("mij,mj->mi", mixed, slopes)
    merged = shares @ ends[:DATASETS]
    moved = merged - RATE**2 * setting.steps * (setting.steps - 1) / 2 * residual
    single = score(ends[:DATASETS])
    several = np.sum(shares > 0, axis=1) > 1
    mean = (shares @ single)[several]
    by_merging, by_training, by_theory = (score(x)[several] for x in (merged, ends, moved))
    best = np.array([single[row > 0].max() for row in shares[several]])
    return Gains(mean, best, by_merging - mean, by_merging - by_training, by_merging - by_theory)


def _unit(matrix: Floats) -> Floats:
    return np.asarray(matrix / np.linalg.norm(matrix, 2))


def _mixed(common: Floats, rng: np.random.Generator, own: float) -> Floats:
    return _unit((1 - own) * _unit(common) + own * _unit(hessian(rng, PARAMETERS)))


def numbers(gains: Gains) -> dict[str, float]:
    """Return correlations with trained scores, and what they come from."""
    merged = gains.mean + gains.added
    trained = merged - gains.lost
    covariance = np.cov([gains.mean, gains.added, gains.lost, gains.foretold])
    r = {name: np.corrcoef(s, trained)[0, 1] for name, s in vars(gains).items() if name in ("mean", "best")}
    r_merged = np.corrcoef(merged, trained)[0, 1]
    foretold = merged - gains.foretold
    apart = 1 - np.corrcoef(merged, gains.mean)[0, 1]
    return {
        "merged": r_merged,
        "lead over mean": r_merged - r["mean"],
        "lead over best": r_merged - r["best"],
        "foretold lead": np.corrcoef(merged, foretold)[0, 1] - np.corrcoef(gains.mean, foretold)[0, 1],
        "lead at most": float(np.sqrt(2 * max(apart, 0))),
        "share added": float(np.sqrt(covariance[1, 1] / covariance[0, 0])),
        "share lost": float(np.sqrt(covariance[2, 2] / covariance[0, 0])),
        "criterion": float(covariance[1, 1] - 2 * covariance[1, 2]),
    }


def of_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Take complete runs' scores apart: a row a target."""
    rows = []
    for folder in folders:
        for landscape in of_run(folder):
            truth, at = Truth.of(landscape), np.flatnonzero(landscape.several)
            lost = (truth.merged - truth.trained)[at]
            gains = Gains(truth.mean[at], truth.best[at], (truth.merged - truth.mean)[at], lost, lost)
            rows.append({"run": folder.name, "target": landscape.target, **numbers(gains)})
    return pd.DataFrame(rows).drop(columns="foretold lead")


def settings() -> Iterator[tuple[str, Setting]]:
    """List what is drawn: a name for what is varied beside steps, and the setting."""
    for name, values in VARIED.items():
        for value in values:
            for steps in STEPS:
                yield name, Setting(**{"steps": steps, name: value})  # type: ignore[arg-type]


def table(problems: int) -> pd.DataFrame:
    """Draw problems of every setting: a row a problem."""
    rows = []
    for name, setting in settings():
        for seed in range(problems):
            found = numbers(draw(np.random.default_rng([seed, setting.steps]), setting))
            varied = {field.name: getattr(setting, field.name) for field in fields(setting)}
            rows.append({"varied": name, "seed": seed, **varied, "way": RATE * setting.steps, **found})
    return pd.DataFrame(rows)


def main() -> None:
    """Draw, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument(
        "--runs", type=Path, nargs="+", default=[], metavar="RUN", help="complete run folders"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = table(args.problems)
    rows.to_csv(args.out / leads.TABLE, index=False)
    leads.draw(args.out, args.out)
    # With one step training on a mixture is the merge, and merging's lead is certain.
    rows = rows[rows["steps"] > 1]
    ahead = rows["lead over mean"] > 0
    for name, sign in {
        "Var J > 2 Cov(J, R)": rows["criterion"] > 0,
        "R of second order": rows["foretold lead"] > 0,
    }.items():
        near = rows["way"] <= NEAR
        right, of_near = np.mean(sign == ahead), np.mean((sign == ahead)[near])
        print(f"{name}: right in {right:.3f} of {len(rows)}, in {of_near:.3f} of those with ηT ≤ {NEAR:g}")
    print(f"always ahead: right in {np.mean(ahead):.3f} and {np.mean(ahead[rows['way'] <= NEAR]):.3f}")
    print(
        f"merging ahead of the members' mean in {np.mean(ahead):.3f}, of the best member in "
        f"{np.mean(rows['lead over best'] > 0):.3f}"
    )
    columns = ["merged", "lead over mean", "lead over best", "share added", "share lost"]
    if args.runs:
        print(of_runs(args.runs).round(3).to_string(index=False))
    for name in VARIED:
        print(rows[rows["varied"] == name].groupby([name, "way"])[columns].median().round(3).to_string())


if __name__ == "__main__":
    main()
