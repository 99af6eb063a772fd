"""Estimates with 95 % intervals: what is resampled is what another run would draw anew, never the targets.

All targets share the models that are scored on them, so they are no independent rows. Quantities that have a
range are taken on a scale that has none (logarithm, logit), so that no interval leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special, stats

from analysis.validate.verdict import Evidence
from m2m.support.arrays import Floats, Ints

#: Resamples; the ends of a 95 % interval are then known to about a hundredth of its width.
RESAMPLES = 1999
#: Rows that differ by less, as a share of the largest, differ by rounding.
_ROUNDING = 8 * float(np.finfo(float).eps)
Scale = tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]
#: Scales, there and back: of numbers above zero, and of numbers between zero and one.
LOG: Scale = (np.log, np.exp)
LOGIT: Scale = (special.logit, special.expit)
_JACKKNIFE = "dataset jackknife"


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
    return percentiles(value, drawn, n, rows, "mixture bootstrap")


def percentiles(value: float, drawn: Floats, n: int, rows: str, method: str) -> Evidence:
    """Take the interval from redraws of a statistic [R], NaN where it is not defined."""
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < 0.95 * len(drawn):
        reason = f"{len(drawn) - len(defined)} of {len(drawn)} resamples have nothing to measure it on"
        return Evidence(value, None, None, n, rows, method, reason)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Evidence(value, float(low), float(high), n, rows, method, draws=len(drawn))


def of_means(samples: Sequence[Sequence[float] | Floats], rows: str) -> Evidence:
    """Estimate a mean with Student's interval; of several samples their sum, with Welch and Satterthwaite's.

    Args:
        samples: Samples of independent rows, independent of each other. [n] each
        rows: What rows are, in words.

    Returns:
        What was found.
    """
    method = "Student's t" if len(samples) == 1 else "Welch-Satterthwaite"
    parts = [np.asarray(sample, dtype=np.float64) for sample in samples]
    n, few = sum(map(len, parts)), min(map(len, parts))
    if few < 2:
        return Evidence(None, None, None, n, rows, method, f"{few} {rows}: too few")
    if reason := _gaps(np.concatenate(parts), rows):
        return Evidence(None, None, None, n, rows, method, reason)
    mean = float(sum(part.mean() for part in parts))
    squares = np.array([part.var(ddof=1) / len(part) for part in parts])
    if all(np.ptp(part) <= _ROUNDING * np.abs(part).max() for part in parts):
        reason = f"all {n} {rows} are equal: too few to tell, not certainty"
        return Evidence(mean, None, None, n, rows, method, reason)
    freedom = float(squares.sum() ** 2 / np.sum(squares**2 / np.array([len(part) - 1 for part in parts])))
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(squares.sum()))
    return Evidence(mean, mean - reach, mean + reach, n, rows, method, freedom=freedom)


def _gaps(values: Floats, rows: str) -> str:
    """Return why there is no mean; empty if there is one."""
    gaps = int((~np.isfinite(values)).sum())
    return f"{gaps} of {values.size} {rows} have no number" if gaps else ""


def over_datasets(matrix: Floats, rows: str, scale: Scale) -> Evidence:
    """Estimate a mean over pairs of datasets [N, N], no diagonal; a jackknife leaves out datasets."""
    n = len(matrix)
    off = ~np.eye(n, dtype=bool)
    if n < 3:
        return Evidence(None, None, None, n, rows, _JACKKNIFE, f"{n} datasets: three are needed")
    if reason := _gaps(matrix[off], rows):
        return Evidence(None, None, None, n * (n - 1) // 2, rows, _JACKKNIFE, reason)
    kept = [np.delete(np.delete(matrix, k, 0), k, 1) for k in range(n)]
    left = np.array([part[~np.eye(n - 1, dtype=bool)].mean() for part in kept])
    return jackknife(float(matrix[off].mean()), left, scale, n * (n - 1) // 2, rows, _JACKKNIFE)


def jackknife(value: float, left: Floats, scale: Scale, n: int, rows: str, method: str) -> Evidence:
    """Take the interval from leaving out one of C independent things at a time (Arvesen 1969).

    On the scale z the variance is (C − 1)/C · Σ (z₍₋ᵢ₎ − z̄)², with t quantiles on C − 1 degrees of freedom.

    Args:
        value: The estimate from all of them.
        left: The estimates without each. [C]
        scale: On which scale, there and back.
        n: How many rows it is from.
        rows: What a row is.
        method: What to call it.

    Returns:
        The estimate; without an interval where a value has no place on the scale, as a cosine of exactly 0.
    """
    there, back = scale
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, *each = there(np.array([value, *left]))
    if not np.isfinite([whole, *each]).all():
        return Evidence(value, None, None, n, rows, method, "a value lies at the end of its range")
    freedom = len(left) - 1
    reach = float(stats.t.ppf(0.975, freedom)) * float(np.sqrt(freedom * np.var(each)))
    low, high = back(whole + reach * np.array([-1.0, 1.0])).tolist()
    return Evidence(value, low, high, n, rows, method, freedom=float(freedom))
