"""A run's scores as arrays, all oriented so that higher is better, and intervals by resampling mixtures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from analysis.validate.verdict import Evidence
from m2m.mixture import Mixture, all_subsets
from m2m.pipeline.run_folder import RunFolder
from m2m.scoring.table import ScoreTable
from m2m.support.arrays import Floats, Ints

#: Resamples of mixtures; the ends of a 95 % interval are then known to about a hundredth of its width.
RESAMPLES = 1999
#: Rows that differ by less, as a share of the largest, differ by rounding.
_ROUNDING = 8 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Grid:
    """Validation scores of every mixture on every target.

    Attributes:
        targets: Names of the targets. [T]
        mixtures: The mixtures. [M]
        base: Scores of the base model. [T]
        merged: Scores of merged models. [T, M]
        trained: Scores of mixture-trained models, of the first seed. [T, M]
    """

    targets: tuple[str, ...]
    mixtures: tuple[Mixture, ...]
    base: Floats
    merged: Floats
    trained: Floats

    @property
    def sizes(self) -> Ints:
        """Number of datasets of each mixture. [M]."""
        return np.array([len(mixture.members) for mixture in self.mixtures])


def read_grid(folder: RunFolder, results: Mapping[str, Any]) -> Grid:
    """Read a validated run's scores: all subsets, on all targets that have all scores."""
    sign = 1.0 if results["higher_is_better"] else -1.0
    with ScoreTable(folder.table, read_only=True) as table:
        frame = table.frame(split="validation", metric=results["metric"])
    frame = frame[(frame["origin"] != "trained") | (frame["seed"] == results["seed"])]
    found = {
        (row.origin, row.task, row.key_of): sign * row.value
        for row in frame.assign(key_of=[_members(text) for text in frame["members"]]).itertuples()
    }
    mixtures = tuple(all_subsets(results["datasets"]))
    wanted = [("base", ()), *((origin, m.members) for m in mixtures for origin in ("merged", "trained"))]
    targets = tuple(
        task
        for task in dict.fromkeys(frame["task"])
        if all((origin, task, members) in found for origin, members in wanted)
    )

    def scores(origin: str) -> Floats:
        rows = [[found[origin, task, m.members] for m in mixtures] for task in targets]
        return np.array(rows).reshape(len(targets), len(mixtures))

    base = np.array([found["base", task, ()] for task in targets])
    return Grid(targets, mixtures, base, scores("merged"), scores("trained"))


def _members(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def comparable(first: Grid, second: Grid) -> bool:
    """Return whether two grids are of the same mixtures and targets, in the same order."""
    return first.mixtures == second.mixtures and first.targets == second.targets


def pooled_correlation(merged: Floats, trained: Floats) -> float:
    """Correlate scores [T, M] within targets: each is centred, then all rows count alike; NaN if constant."""
    x, y = (values - values.mean(1, keepdims=True) for values in (merged, trained))
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / scale) if scale > 0 else float("nan")


def pooled_rank_correlation(merged: Floats, trained: Floats) -> float:
    """Correlate ranks of scores [T, M] within targets: Spearman's rho, NaN if a side is constant."""
    return pooled_correlation(*(stats.rankdata(values, axis=1) for values in (merged, trained)))


def over_mixtures(
    statistic: Callable[[Ints], float], count: int, seed: int, rows: str, n: int | None = None
) -> Evidence:
    """Return a statistic of mixtures with a percentile interval from resampling them.

    `statistic` takes numbers of mixtures, with repeats, and gives NaN where it is not defined; `rows` says
    what a row is and `n` how many the value is from (`count` if not given).
    """
    n = count if n is None else n
    value = statistic(np.arange(count))
    if np.isnan(value):
        return Evidence(None, None, None, n, rows, "mixture bootstrap", "nothing to measure it on")
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, count, count)) for _ in range(RESAMPLES)])
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < 0.95 * RESAMPLES:
        reason = f"{RESAMPLES - len(defined)} of {RESAMPLES} resamples have nothing to measure it on"
        return Evidence(value, None, None, n, rows, "mixture bootstrap", reason)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Evidence(value, float(low), float(high), n, rows, "mixture bootstrap")


def of_mean(values: Sequence[float] | Floats, rows: str) -> Evidence:
    """Estimate the mean of independent rows [n], with Student's interval."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Evidence(None, None, None, len(array), rows, "Student's t", f"{len(array)} {rows}: too few")
    if reason := _gaps(array, rows):
        return Evidence(None, None, None, len(array), rows, "Student's t", reason)
    mean, error = float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array)))
    if np.ptp(array) <= _ROUNDING * np.abs(array).max():
        reason = f"all {len(array)} {rows} are equal: too few to tell, not certainty"
        return Evidence(mean, None, None, len(array), rows, "Student's t", reason)
    reach = float(stats.t.ppf(0.975, len(array) - 1)) * error
    return Evidence(mean, mean - reach, mean + reach, len(array), rows, "Student's t")


def _gaps(values: Floats, rows: str) -> str:
    """Return why there is no mean; empty if there is one."""
    gaps = int((~np.isfinite(values)).sum())
    return f"{gaps} of {values.size} {rows} have no number" if gaps else ""


def of_ratio(logarithms: Sequence[float] | Floats, rows: str) -> Evidence:
    """Estimate a ratio from logarithms in independent rows [n]: geometric mean with Student's interval."""
    found = of_mean(logarithms, rows)
    value, low, high = (
        None if number is None else math.exp(number) for number in (found.value, found.low, found.high)
    )
    return replace(found, value=value, low=low, high=high, method="Student's t of logarithms")


def over_datasets(matrix: Floats, rows: str) -> Evidence:
    """Estimate a mean over pairs of datasets [N, N], no diagonal; a jackknife leaves out datasets."""
    n = len(matrix)
    off = ~np.eye(n, dtype=bool)
    if n < 3:
        return Evidence(None, None, None, n, rows, "dataset jackknife", f"{n} datasets: three are needed")
    if reason := _gaps(matrix[off], rows):
        return Evidence(None, None, None, n * (n - 1) // 2, rows, "dataset jackknife", reason)
    value = float(matrix[off].mean())
    kept = [np.delete(np.delete(matrix, k, 0), k, 1) for k in range(n)]
    means = np.array([part[~np.eye(n - 1, dtype=bool)].mean() for part in kept])
    error = float(np.sqrt((n - 1) / n * ((means - means.mean()) ** 2).sum()))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    return Evidence(value, value - reach, value + reach, n * (n - 1) // 2, rows, "dataset jackknife")
