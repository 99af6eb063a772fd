"""Would a surrogate combined of all that is free rank mixtures better than the merged score alone?

    python benchmarks/combined.py RUN … [--trainings 4] [--rounds 4]

The model is `analysis.trust.combined`'s: trained = merged + Φβ + noise, β ~ N(μ, S) from target to target.
μ, S and the noise are learned by expectation-maximisation over complete truths: runs on other datasets than
the run that is judged (runs on the same datasets are left out together and weigh as one), and quadratics in
which everything is known (`quadratics.py`), which weigh as one run.

Reads complete runs (`m2m run CONFIG --validate`). A row says of a surrogate, means over a run's targets: r
and ρ over mixtures of two datasets or more, the regret of its pick on single targets and on pairs and triples
of targets whose best mixture is mixed, shares of the range. Below, the difference to merging, mean over
families of runs, with Student's interval over families; last the prior from all of them, which
`analysis/trust/combined_prior.py` holds.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import quadratics
from scipy import stats

from analysis.trust import Landscape, believe, design, of_run
from analysis.trust.combined import Coefficients, combined, features, monotone
from m2m.support.arrays import Floats, Ints

#: Steps of expectation-maximisation, and the least variance that it may end at.
ROUNDS, LEAST = 200, 1e-4
#: Made truths behind the prior.
MADE = 60
NUMBERS = ("r", "rho", "regret, single targets", "regret, best is mixed")


@dataclass(frozen=True)
class Truth:
    """A target's scores in standard deviations of the merged ones, higher is better. [C] each.

    Attributes:
        landscape: Where they are from; None for a made truth.
        merged: The merged models' scores.
        trained: The trained models' scores.
        weights: λ. [C, N]
    """

    landscape: Landscape | None
    merged: Floats
    trained: Floats
    weights: Floats

    @classmethod
    def of(cls, landscape: Landscape) -> Truth:
        """Read a landscape with everything trained."""
        sign = 1.0 if landscape.higher_is_better else -1.0
        middle, unit = np.mean(landscape.merged), sign / landscape.unit
        trained = landscape.measured
        if np.isnan(trained).any():
            raise SystemExit(f"target {landscape.target!r}: not every mixture is trained")
        return cls(
            landscape, unit * (landscape.merged - middle), unit * (trained - middle), landscape.weights
        )

    @classmethod
    def made(cls, seed: int) -> Truth:
        """Draw quadratics in which everything is known."""
        problem = quadratics.draw(np.random.default_rng(seed), datasets=5, dimensions=20)
        merged, trained = problem.score(problem.merged), problem.score(problem.trained)
        unit, middle = np.std(merged), np.mean(merged)
        return cls(None, (merged - middle) / unit, (trained - middle) / unit, problem.shares)

    @property
    def sizes(self) -> Ints:
        """Datasets of each mixture. [C]."""
        return np.asarray(np.sum(self.weights > 0, axis=1))

    @property
    def several(self) -> Ints:
        """Rows of the mixtures of two datasets or more."""
        return np.flatnonzero(self.sizes > 1)

    @property
    def mean(self) -> Floats:
        """The members' mean by λ. [C]."""
        return np.asarray(self.weights @ self._experts)

    @property
    def best(self) -> Floats:
        """The best member's. [C]."""
        return np.asarray(np.max(np.where(self.weights > 0, self._experts, -np.inf), axis=1))

    @property
    def _experts(self) -> Floats:
        alone = np.argmax(self.weights * (self.sizes == 1)[:, None], axis=0)
        return self.merged[alone]

    @property
    def features(self) -> Floats:
        """Φ. [C, 3]."""
        return features(self.merged, self.weights)

    @property
    def residual(self) -> Floats:
        """What training adds to merging. [C]."""
        return self.trained - self.merged


Run = Sequence[Truth]


def learned(runs: Sequence[Run]) -> Coefficients:
    """Learn β's distribution from complete truths by expectation-maximisation; every run weighs the same."""
    parts = [
        (truth.features[truth.several], truth.residual[truth.several], 1 / len(run))
        for run in runs
        for truth in run
    ]
    shares = np.array([share for *_, share in parts])
    shares /= shares.sum()
    width = parts[0][0].shape[1]
    prior = Coefficients(np.zeros(width), 0.1 * np.eye(width), 0.1)
    for _ in range(ROUNDS):
        means, covariances, squares = [], [], []
        for phi, residual, _ in parts:
            mean, covariance = prior.updated(phi, residual)
            off = residual - phi @ mean
            means.append(mean)
            covariances.append(covariance)
            squares.append((off @ off + np.trace(phi @ covariance @ phi.T)) / len(off))
        middle = shares @ np.array(means)
        spread = np.array(means) - middle
        total = np.array(covariances) + spread[:, :, None] * spread[:, None, :]
        noise = max(float(shares @ np.array(squares)), LEAST)
        prior = Coefficients(middle, np.tensordot(shares, total, 1) + LEAST * np.eye(width), noise)
    return prior


def untrained(truth: Truth, prior: Coefficients) -> Floats:
    """Return the combined score of every mixture, nothing being trained. [C]."""
    return np.asarray(truth.merged + truth.features @ monotone(prior.mean, prior.covariance))


def free(truth: Truth) -> dict[str, Floats]:
    """Return the single surrogates."""
    return {
        "merged": truth.merged,
        "best member": truth.best,
        "mean of members": truth.mean,
        "half and half": (truth.merged + truth.best) / 2,
    }


def judged(run: Run, scores: Sequence[Floats]) -> Floats:
    """Return `NUMBERS` of one surrogate on a run."""
    pairs = [(s[t.several], t.trained[t.several]) for s, t in zip(scores, run, strict=True)]
    units = [np.std(truth.trained) for truth in run]
    said = np.array([s / unit for s, unit in zip(scores, units, strict=True)])
    true = np.array([t.trained / unit for t, unit in zip(run, units, strict=True)])
    sizes = run[0].sizes
    several = [rows for k in (2, 3) for rows in combinations(range(len(run)), k)]
    mixed = [rows for rows in several if sizes[np.argmax(true[list(rows)].sum(0))] > 1]
    return np.array(
        [
            np.mean([np.corrcoef(s, t)[0, 1] for s, t in pairs]),
            np.mean([stats.spearmanr(s, t)[0] for s, t in pairs]),
            np.mean([regret(s, t, sizes) for s, t in zip(said, true, strict=True)]),
            np.mean([regret(said[list(r)].sum(0), true[list(r)].sum(0), sizes) for r in mixed])
            if mixed
            else np.nan,
        ]
    )


def regret(said: Floats, true: Floats, sizes: Ints) -> float:
    """Return what the pick lacks to the best, as a share of the range; ties go to fewer datasets."""
    pick = np.lexsort((np.arange(len(said)), sizes, -said))[0]
    return float((true.max() - true[pick]) / np.ptp(true))


def with_trainings(run: Run, prior: Coefficients, budget: int, seed: int) -> dict[str, list[Floats]]:
    """Train some mixtures by `analysis.trust.design`; whoever knows a trained score takes it."""
    landscapes = [truth.landscape for truth in run if truth.landscape is not None]
    better = [each.higher_is_better for each in landscapes]
    merged = np.stack([each.merged for each in landscapes])
    planned = design(merged, landscapes[0].mixtures, budget, seed, higher_is_better=better)
    rows = np.array([one.row for one in planned])

    def known(truth: Truth, scores: Floats) -> Floats:
        return np.where(shown, truth.trained, scores)

    shown = np.isin(np.arange(merged.shape[1]), rows) | ~landscapes[0].several
    hidden = [replace(each, trained=np.where(shown, each.trained, np.nan)) for each in landscapes]

    def standard(landscape: Landscape, scores: Floats) -> Floats:
        sign = 1 if landscape.higher_is_better else -1
        return np.asarray(sign * (scores - landscape.merged.mean()) / landscape.unit)

    return {
        "merged": [known(truth, truth.merged) for truth in run],
        "combined": [standard(each, combined(each, prior)) for each in hidden],
        "trust": [standard(each.landscape, each.mean) for each in believe(hidden, seed)],
    }


def table(runs: Mapping[str, Run], families: Mapping[str, str], budgets: Sequence[int], rounds: int) -> None:
    """Judge every run by the prior of the others, print, and sum up over families."""
    made = [Truth.made(seed) for seed in range(MADE)]
    found: dict[str, dict[str, list[Floats]]] = defaultdict(lambda: defaultdict(list))
    for name, run in runs.items():
        others: dict[str, list[Truth]] = defaultdict(list)
        for other, truths in runs.items():
            if families[other] != families[name]:
                others[families[other]] += truths
        priors = {"real and made": [*others.values(), made], "made": [made]}
        if others:
            priors["real"] = list(others.values())
        rows = {kind: judged(run, [free(truth)[kind] for truth in run]) for kind in free(run[0])}
        for kind, truths in priors.items():
            prior = learned(truths)
            rows[f"combined, {kind}"] = judged(run, [untrained(truth, prior) for truth in run])
        prior = learned(priors["real and made"])
        deviations = np.sqrt(np.diag(prior.covariance))
        print(f"prior for {name}: mean of β {prior.mean.round(2)}, deviations {deviations.round(2)}")
        for budget in budgets:
            drawn = [with_trainings(run, prior, budget, seed) for seed in range(rounds)]
            for kind in drawn[0]:
                rows[f"{kind}, {budget} trained"] = np.mean([judged(run, each[kind]) for each in drawn], 0)
        for kind, row in rows.items():
            found[kind][families[name]].append(row)
            print(f"| {name} | {kind} | " + " | ".join(f"{number:.3f}" for number in row) + " |", flush=True)
    _summed_up(found)
    every: dict[str, list[Truth]] = defaultdict(list)
    for name, truths in runs.items():
        every[families[name]] += truths
    prior = learned([*every.values(), made])
    print(f"MEAN = {_plain(prior.mean)}\nCOVARIANCE = {_plain(prior.covariance)}\nNOISE = {prior.noise:.4f}")


def _plain(numbers: Floats) -> object:
    return tuple(map(_plain, numbers)) if np.ndim(numbers) else round(float(numbers), 4)


def _summed_up(found: Mapping[str, Mapping[str, list[Floats]]]) -> None:
    for kind, by in found.items():
        _, _, trained = kind.partition(", ")
        rival = f"merged, {trained}" if trained.endswith("trained") else "merged"
        if kind == rival:
            continue
        pairs = [(np.mean(rows, 0), np.mean(found[rival][family], 0)) for family, rows in by.items()]
        gaps = np.array([mine - its for mine, its in pairs])
        mean = gaps.mean(0)
        reach = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(0, ddof=1) / np.sqrt(len(gaps))
        cells = [f"{m:+.3f} [{m - r:+.3f}, {m + r:+.3f}]" for m, r in zip(mean, reach, strict=True)]
        print(f"| {len(gaps)} families | {kind} minus {rival} | {' | '.join(cells)} |")


def main() -> None:
    """Read, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="complete run folders")
    parser.add_argument("--trainings", type=int, nargs="*", default=[4])
    parser.add_argument("--rounds", type=int, default=4, help="designs drawn for each run")
    args = parser.parse_args()
    runs, families = {}, {}
    for folder in args.runs:
        landscapes = of_run(folder)
        runs[folder.name] = [Truth.of(landscape) for landscape in landscapes]
        families[folder.name] = "+".join(landscapes[0].mixtures[0].datasets)
    print("| run | surrogate | " + " | ".join(NUMBERS) + " |\n| --- | --- |" + " ---: |" * len(NUMBERS))
    table(runs, families, args.trainings, args.rounds)


if __name__ == "__main__":
    main()
