"""What may vary, and how much: interval and p-value makers for a correlation.

Three questions, three intervals. *Textbook* (Fisher z): rows are independent draws. *Mixture bootstrap*:
other mixtures of the same datasets could have been scored; all rows of a mixture move together. *Dataset
jackknife*: mixtures that share a dataset are dependent, and other datasets could have been there.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity.coefficients import Statistic
from analysis.fidelity.scores import Sample
from m2m.support.arrays import Floats, Ints

#: Bootstrap resamples and random permutations; the smallest possible p-value is 1 / (RESAMPLES + 1).
RESAMPLES = 1999
_BOOTSTRAP = "mixture bootstrap"
#: Name of the interval that leaves out a dataset at a time.
JACKKNIFE = "dataset jackknife"
#: More mixtures than this are not resampled: time grows with their square, and the textbook interval is good.
MANY = 600
#: Resamples that are looked at together: their weights stay in the processor's cache.
_BATCH = 250
#: Fewest rows for which each coefficient's standard error below is defined.
SMALLEST = {"pearson": 4, "spearman": 4, "kendall": 5}


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval.

    Attributes:
        low: Lower end, or None if the interval is not defined.
        high: Upper end, or None.
        method: How it was made.
        reason: Why it is missing or to be read with care; empty if neither.
    """

    low: float | None
    high: float | None
    method: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay ends and reason out for JSON."""
        return {"low": self.low, "high": self.high, "reason": self.reason}


@dataclass(frozen=True)
class IntervalEstimate:
    """A statistic of n rows.

    Attributes:
        value: The estimate; None if it is not defined.
        low: Lower end of the 95 % interval named by `method`.
        high: Upper end.
        n: Rows it was computed from.
        method: How `low` and `high` were made.
        reason: Why something is missing or to be read with care; empty if neither.
        p: Two-sided permutation p-value of "no association", or None.
        intervals: The same interval by other methods, which answer other questions about what varies.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str = ""
    reason: str = ""
    p: float | None = None
    intervals: tuple[Interval, ...] = ()

    @classmethod
    def missing(cls, n: int, reason: str) -> IntervalEstimate:
        """Return an estimate without value: why the n rows there were do not give a number."""
        return cls(None, None, None, n, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON, `intervals` by method."""
        content = asdict(self)
        content["intervals"] = {interval.method: interval.to_json() for interval in self.intervals}
        return content


def standard_error(coefficient: str, value: float, n: int) -> float:
    """Return the standard error of atanh(coefficient) for n independent rows, at least `SMALLEST`.

    Pearson: Fisher 1921. Spearman: Bonett and Wright 2000 (Psychometrika 65:23), better than Fieller's for
    large correlations. Kendall: Fieller, Hartley and Pearson 1957 (Biometrika 44:470).
    """
    variance = {
        "pearson": 1 / (n - 3),
        "spearman": (1 + value**2 / 2) / (n - 3),
        "kendall": 0.437 / (n - 4) if n > 4 else math.inf,
    }
    return math.sqrt(variance[coefficient])


def fisher(coefficient: str, value: float, n: int) -> Interval:
    """Make the textbook interval tanh(atanh(value) ± 1.96 · standard error); at |value| = 1 it collapses."""
    method = {"pearson": "Fisher z", "spearman": "Bonett-Wright", "kendall": "Fieller"}[coefficient]
    if n < SMALLEST[coefficient]:
        return Interval(
            None, None, method, f"{n} mixtures are too few: at least {SMALLEST[coefficient]} are needed"
        )
    if abs(value) == 1:
        return Interval(
            value, value, method, "the interval collapses at |r| = 1: too few points to tell, not certainty"
        )
    reach = stats.norm.ppf(0.975) * standard_error(coefficient, value, n)
    low, high = np.tanh(math.atanh(value) + np.array([-reach, reach]))
    return Interval(float(low), float(high), method)


def bootstrap(statistic: Statistic, sample: Sample, seed: int) -> Interval:
    """Resample mixtures: Efron's BCa interval, scipy's."""
    present, cluster = np.unique(sample.mixture, return_inverse=True)
    if len(present) > MANY:
        return Interval(None, None, _BOOTSTRAP, f"left out for more than {MANY} mixtures")

    def resampled(codes: Ints, axis: int = -1) -> Floats:
        flat = np.moveaxis(codes, axis, -1).reshape(-1, codes.shape[axis])
        return statistic(sample, _counts(flat, len(present))[:, cluster]).reshape(codes.shape[:-1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate resamples are looked for and named below
        result = stats.bootstrap(
            (np.arange(len(present)),),
            resampled,
            n_resamples=RESAMPLES,
            method="BCa",
            vectorized=True,
            batch=_BATCH,
            rng=seed,
        )
    return _checked(result.confidence_interval, result.bootstrap_distribution)


def _checked(ends: tuple[float, float], distribution: Floats) -> Interval:
    undefined = int(np.sum(np.isnan(distribution)))
    if undefined:
        reason = f"{undefined} of {RESAMPLES} resamples are constant: too few mixtures"
        return Interval(None, None, _BOOTSTRAP, reason)
    if not np.all(np.isfinite(ends)):
        return Interval(None, None, _BOOTSTRAP, "the resamples do not vary enough for a BCa interval")
    return Interval(float(ends[0]), float(ends[1]), _BOOTSTRAP)


def _counts(codes: Ints, kinds: int) -> Floats:
    """Return how often each of 0 … kinds − 1 is in each row of codes. [R, kinds]."""
    rows = np.arange(len(codes))[:, None]
    return (
        np.bincount((rows * kinds + codes).ravel(), minlength=len(codes) * kinds)
        .reshape(-1, kinds)
        .astype(float)
    )


def dataset_jackknife(statistic: Statistic, sample: Sample) -> Interval:
    """Return the interval of leaving out one dataset, with all its mixtures, at a time (Arvesen 1969).

    On the atanh scale, variance (N − 1)/N · Σ (z₍₋ᵢ₎ − z̄)² with t quantiles on N − 1 degrees of freedom.
    Right when what varies is which datasets there are; too wide when rows are in truth independent.
    """
    method, names = JACKKNIFE, sample.datasets
    if len(names) < 3:
        return Interval(
            None,
            None,
            method,
            "the datasets of each mixture are not known" if not names else "too few datasets",
        )
    has = np.array([[name in members for members in sample.members or ()] for name in names])
    counts = np.vstack([np.ones((1, sample.n)), ~has[:, sample.mixture]]).astype(float)
    if np.min(np.sum(counts, axis=1)) < min(SMALLEST.values()):
        return Interval(None, None, method, "without one of the datasets too few mixtures are left")
    values = statistic(sample, counts)
    if not np.all(np.abs(values) < 1):  # also false for NaN
        return Interval(
            None, None, method, "without one of the datasets the correlation is ±1 or not defined"
        )
    whole, *left = np.arctanh(values)
    error = math.sqrt((len(left) - 1) * float(np.var(left)))
    low, high = np.tanh(whole + error * stats.t.ppf([0.025, 0.975], len(left) - 1))
    return Interval(float(low), float(high), method)
