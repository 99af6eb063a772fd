"""How often fidelity's intervals hold the truth, where they should say 0.95: normal scores and others.

    python benchmarks/fidelity_coverage.py alone       # mixtures that share nothing: textbook and jackknife
    python benchmarks/fidelity_coverage.py shared      # all subsets of N datasets: textbook and jackknife
    python benchmarks/fidelity_coverage.py repeated    # the same mixtures trained and tested again
    python benchmarks/fidelity_coverage.py utility     # the same, of a utility of two targets
    python benchmarks/fidelity_coverage.py seeds       # two training seeds held against each other

Each prints a table for docs/theory.md, from `--draws` samples a cell: the standard error of a share of 0.95
is 1.5 % for 200.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.intervals import Interval, dataset_jackknife, fisher, mixture_jackknife
from analysis.fidelity.repeats import interval as repeated_interval
from analysis.fidelity.repeats import redraw, redraw_seeds
from analysis.fidelity.run_utility import RunUtility
from analysis.fidelity.scores import Points, Sample
from m2m.pipeline.target_utility import TargetUtility

Floats = NDArray[np.float64]
Rng = np.random.Generator
#: Merged and trained scores of some shape, correlated by about rho: each [*shape].
Shape = Callable[[Rng, tuple[int, ...], float], tuple[Floats, Floats]]


def normal(rng: Rng, shape: tuple[int, ...], rho: float) -> tuple[Floats, Floats]:
    """Draw what the textbook assumes."""
    x = rng.normal(size=shape)
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=shape)


def t3_errors(rng: Rng, shape: tuple[int, ...], rho: float) -> tuple[Floats, Floats]:
    """Draw normal merged scores and errors of three degrees of freedom: some mixtures fail badly."""
    x = rng.normal(size=shape)
    return x, rho * x + math.sqrt((1 - rho**2) / 3) * rng.standard_t(3, size=shape)


def far_points(rng: Rng, shape: tuple[int, ...], rho: float) -> tuple[Floats, Floats]:
    """Draw a fifth of the mixtures four times as far out, on the line."""
    x = rng.normal(size=shape) * np.where(rng.random(shape) < 0.2, 4.0, 1.0)
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=shape)


def heavy_tails(rng: Rng, shape: tuple[int, ...], rho: float) -> tuple[Floats, Floats]:
    """Draw both from a bivariate t of three degrees of freedom."""
    stretch = np.sqrt(3 / rng.chisquare(3, size=shape))
    x, y = normal(rng, shape, rho)
    return stretch * x, stretch * y


def skewed(rng: Rng, shape: tuple[int, ...], rho: float) -> tuple[Floats, Floats]:
    """Draw exponential merged scores."""
    x = rng.exponential(size=shape) - 1
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=shape)


SHAPES: dict[str, Shape] = {
    "normal": normal,
    "t3 errors": t3_errors,
    "far points": far_points,
    "heavy tails": heavy_tails,
    "skewed": skewed,
}
#: Rows that stand for a population.
_POPULATION = 200_000


def coefficient_of(name: str, sample: Sample) -> float:
    """Return a coefficient of a sample."""
    return float(COEFFICIENTS[name](sample, np.ones((1, sample.n)))[0])


def holds(interval: Interval, truth: float) -> bool:
    """Return whether an interval is there and holds the truth."""
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def alone(shape: Shape, name: str, n: int, rho: float, draws: int) -> tuple[float, float]:
    """Return how often the textbook interval and the jackknife hold the population's value."""
    rng = np.random.default_rng(0)
    truth = coefficient_of(name, Sample.single(*shape(rng, (_POPULATION,), rho), None))
    hits = np.zeros(2)
    for x, y in zip(*shape(rng, (draws, n), rho), strict=True):
        sample = Sample.single(x, y, None)
        found = fisher(name, coefficient_of(name, sample), n), mixture_jackknife(COEFFICIENTS[name], sample)
        hits += [holds(interval, truth) for interval in found]
    return float(hits[0] / draws), float(hits[1] / draws)


def subsets(datasets: int, smallest: int = 2) -> tuple[tuple[str, ...], ...]:
    """Return the mixtures of at least so many datasets."""
    names = [str(k) for k in range(datasets)]
    return tuple(c for size in range(smallest, datasets + 1) for c in combinations(names, size))


def shared(name: str, datasets: int, rho: float, own: float, draws: int) -> tuple[float, float, float]:
    """Return how often the textbook and the jackknife over datasets hold, and the jackknife's median width.

    Every dataset is worth something, merged and trained, correlated by rho over all there could be; a
    mixture is worth its datasets' mean and an error of its own, `own` times that mean's standard deviation.
    The truth is the mean coefficient over such draws of datasets.
    """
    rng, members = np.random.default_rng(0), subsets(datasets)
    weights = np.array([[float(str(k) in names) / len(names) for k in range(datasets)] for names in members])

    def study(count: int) -> tuple[Floats, Floats]:
        x, y = (worth @ weights.T for worth in normal(rng, (count, datasets), rho))
        return x, y + own * y.std(axis=1, keepdims=True) * rng.normal(size=y.shape)

    def samples(count: int) -> Iterator[Sample]:
        return (Sample.single(x, y, members) for x, y in zip(*study(count), strict=True))

    truth = math.tanh(np.mean([math.atanh(coefficient_of(name, sample)) for sample in samples(4000)]))
    hits, widths = np.zeros(2), []
    for sample in samples(draws):
        found = dataset_jackknife(COEFFICIENTS[name], sample)
        hits += [holds(fisher(name, coefficient_of(name, sample), sample.n), truth), holds(found, truth)]
        if found.low is not None and found.high is not None:
            widths.append(found.high - found.low)
    return float(hits[0] / draws), float(hits[1] / draws), float(np.median(widths))


def repeated(
    name: str, n: int, rho: float, seeds: float, tests: float, draws: int, targets: int = 1
) -> float:
    """Return how often the interval of these mixtures holds their mean coefficient over repetitions.

    `seeds` and `tests` are standard deviations of what training seeds and test examples (40 of them, most of
    their noise common to merged and trained models) add to a score, in those of the mixtures' true scores.
    Of several targets the coefficient is the utility's that weighs them alike: metrics of both directions, in
    units of their own.
    """
    rng = np.random.default_rng(0)
    truths = [_standardised(normal(rng, (n,), rho)) for _ in range(targets)]
    names = [f"t{k}" for k in range(targets)]
    chosen_for = RunUtility(
        "utility",
        TargetUtility(
            dict.fromkeys(names, 1 / targets),
            {name: 1.0 + k for k, name in enumerate(names)},
            {name: k % 2 == 0 for k, name in enumerate(names)},
        ),
        dict.fromkeys(names, 0.0),
    )

    def study() -> Points:
        of_targets = [
            _tested(rng, name, truth, seeds, tests, 1.0 / chosen_for.utility.rate(name) / targets)
            for name, truth in zip(names, truths, strict=True)
        ]
        return of_targets[0] if targets == 1 else chosen_for.points(of_targets)

    truth = float(np.mean([coefficient_of(name, study().sample()) for _ in range(2000)]))
    hits = 0
    for number in range(draws):
        points = study()
        value = coefficient_of(name, points.sample())
        hits += holds(repeated_interval(name, value, points.sample(), redraw([points], number)), truth)
    return hits / draws


def _standardised(sides: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    merged, trained = ((side - side.mean()) / side.std() for side in sides)
    return merged, trained


def _tested(
    rng: np.random.Generator,
    name: str,
    truth: tuple[Floats, Floats],
    seeds: float,
    tests: float,
    unit: float,
    examples: int = 40,
) -> Points:
    """Train and test mixtures of true scores `truth`; a metric whose unit is below 0 is better when low."""
    n = len(truth[0])
    common, *single = rng.normal(size=(3, n, examples)) * tests * math.sqrt(examples)
    seed, other = seeds * rng.normal(size=(2, n))
    merged = unit * (truth[0][:, None] + 0.8 * common + 0.6 * single[0])
    trained = unit * ((truth[1] + seed)[:, None] + 0.8 * common + 0.6 * single[1])
    sides = (merged.mean(axis=1), trained.mean(axis=1))
    again = sides[1] + unit * (other - seed)
    labels = tuple(f"m{k}" for k in range(n))
    return Points(name, "m", unit > 0, labels, None, *sides, again, examples=((merged, trained),))


def seeds_agree(name: str, n: int, noise: float, draws: int) -> float:
    """Return how often the interval of two training seeds' agreement holds its mean over repetitions.

    `noise` is the standard deviation of what a seed adds, in that of the mixtures' true scores.
    """
    rng = np.random.default_rng(0)
    truth = rng.normal(size=n)
    truth = (truth - truth.mean()) / truth.std()
    labels = tuple(f"m{k}" for k in range(n))

    def study() -> tuple[Points, Sample]:
        first, second = truth + noise * rng.normal(size=(2, n))
        points = Points("t", "m", True, labels, None, first, first, second)
        return points, Sample.single(first, second, None)

    mean = float(np.mean([coefficient_of(name, study()[1]) for _ in range(2000)]))
    hits = 0
    for number in range(draws):
        points, sample = study()
        value = coefficient_of(name, sample)
        hits += holds(repeated_interval(name, value, sample, redraw_seeds([points], number)), mean)
    return hits / draws


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", choices=["alone", "shared", "repeated", "utility", "seeds"])
    parser.add_argument("--draws", type=int, default=400)
    args = parser.parse_args(arguments)
    tables = {
        "alone": _alone,
        "shared": _shared,
        "repeated": _repeated,
        "utility": partial(_repeated, targets=2),
        "seeds": _seeds,
    }
    tables[args.table](args.draws)


def _alone(draws: int) -> None:
    """Print the lowest share over correlations of 0.5 and 0.9, textbook then jackknife."""
    heads = [f"{name}, n = {n}" for n in (11, 57) for name in COEFFICIENTS]
    print(f"| scores | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}")
    for label, shape in SHAPES.items():
        cells = []
        for n in (11, 57):
            for name in COEFFICIENTS:
                found = np.min([alone(shape, name, n, rho, draws) for rho in (0.5, 0.9)], axis=0)
                cells.append(f"{found[0]:.2f}, **{found[1]:.2f}**")
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


def _shared(draws: int) -> None:
    print("| datasets | own error | Fisher | jackknife | its median width |\n| --- | --- | --- | --- | --- |")
    for datasets in (6, 8):
        for own in (0.2, 1.0):
            textbook, jackknife, width = shared("pearson", datasets, 0.85, own, draws)
            print(f"| {datasets} | {own:g} | {textbook:.2f} | {jackknife:.2f} | {width:.2f} |", flush=True)


def _repeated(draws: int, targets: int = 1) -> None:
    print("| mixtures | seeds, examples | Pearson | Spearman |\n| --- | --- | --- | --- |")
    for n in (11, 57):
        for seeds, tests in ((0.05, 0.05), (0.3, 0.1), (0.1, 0.3), (0.8, 0.3)):
            found = [
                min(repeated(name, n, rho, seeds, tests, draws, targets) for rho in (0.5, 0.9))
                for name in ("pearson", "spearman")
            ]
            print(f"| {n} | {seeds:g}, {tests:g} | {found[0]:.2f} | {found[1]:.2f} |", flush=True)


def _seeds(draws: int) -> None:
    print("| mixtures | noise of a seed | Pearson | Spearman |\n| --- | --- | --- | --- |")
    for n in (11, 57):
        for noise in (0.05, 0.3, 0.8):
            found = [seeds_agree(name, n, noise, draws) for name in ("pearson", "spearman")]
            print(f"| {n} | {noise:g} | {found[0]:.2f} | {found[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
