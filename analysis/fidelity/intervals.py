"""What may vary, and how much: interval makers for a statistic of mixtures, each named by its question.

*New mixtures*: the rows could have been other mixtures, which share nothing with each other. *New datasets*:
mixtures that share a dataset are dependent, and what could have been others are the datasets. The third
question, *these mixtures* trained and tested again, is `analysis.fidelity.repeats`'s.

Leaving out one independent thing at a time, a mixture or a dataset, answers both. On the atanh scale and
with t quantiles that interval covers for far points and heavy tails better than Fisher's, and is defined
where scores are tied and mixtures few, where BCa's is not (docs/theory.md, "Coverage").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity.coefficients import Statistic
from analysis.fidelity.scores import Sample
from m2m.support.arrays import Floats

#: Redraws and random permutations; the smallest possible p-value is 1 / (RESAMPLES + 1).
RESAMPLES = 1999
#: The questions that an interval may answer: what could have been different.
THESE, MIXTURES, DATASETS = "these mixtures", "new mixtures", "new datasets"
#: Names of methods.
MIXTURE_JACKKNIFE, JACKKNIFE = "mixture jackknife", "dataset jackknife"
#: From fewer datasets nothing can be told about others: the jackknife's interval is then mostly wider than 1.
FEWEST_DATASETS = 6
#: More mixtures than this are not resampled: time grows with their square.
MANY = 600
#: Fewest rows for which each coefficient's standard error below is defined.
SMALLEST = {"pearson": 4, "spearman": 4, "kendall": 5}
#: A scale on which a statistic's errors are even, there and back.
Scale = tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]
FISHER_Z: Scale = (np.arctanh, np.tanh)
AS_IT_IS: Scale = (np.asarray, np.asarray)


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval.

    Attributes:
        low: Lower end, or None if the interval is not defined.
        high: Upper end, or None.
        method: How it was made.
        reason: Why it is missing or to be read with care; empty if neither.
        about: Which question it answers: `THESE`, `MIXTURES`, `DATASETS`; empty if it is of another kind.
    """

    low: float | None
    high: float | None
    method: str
    reason: str = ""
    about: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay ends, question and reason out for JSON."""
        return {"about": self.about, "low": self.low, "high": self.high, "reason": self.reason}


@dataclass(frozen=True)
class IntervalEstimate:
    """A statistic of n rows.

    Attributes:
        value: The estimate; None if it is not defined.
        low: Lower end of the 95 % interval named by `about` and `method`.
        high: Upper end.
        n: Rows it was computed from.
        method: How `low` and `high` were made.
        reason: Why something is missing or to be read with care; empty if neither.
        p: Two-sided permutation p-value of "no association within sizes", or None.
        intervals: All intervals, each with its question; the first that is defined is `low`, `high`.
        about: Which question `low` and `high` answer.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str = ""
    reason: str = ""
    p: float | None = None
    intervals: tuple[Interval, ...] = ()
    about: str = ""

    @classmethod
    def missing(cls, n: int, reason: str) -> IntervalEstimate:
        """Return an estimate without value: why the n rows there were do not give a number."""
        return cls(None, None, None, n, reason=reason)

    @classmethod
    def of(
        cls, value: float, n: int, found: tuple[Interval, ...], p: float | None = None
    ) -> IntervalEstimate:
        """Return an estimate whose `low` and `high` are the first of its intervals that is defined."""
        first = next((interval for interval in found if interval.low is not None), None)
        if first is None:
            reason = "; ".join(f"{interval.about}: {interval.reason}" for interval in found)
            return cls(value, None, None, n, "", reason, p, found)
        return cls(value, first.low, first.high, n, first.method, first.reason, p, found, first.about)

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
    """Make the textbook interval tanh(atanh(value) ± 1.96 · standard error), for rows that share nothing.

    Args:
        coefficient: `pearson`, `spearman` or `kendall`.
        value: What was found.
        n: Rows it was found in.

    Returns:
        The interval. It covers for normal scores; for far points and heavy tails Pearson's covers 0.71 to
        0.89. At |value| = 1 it collapses.
    """
    method = {"pearson": "Fisher z", "spearman": "Bonett-Wright", "kendall": "Fieller"}[coefficient]
    if n < SMALLEST[coefficient]:
        reason = f"{n} mixtures are too few: at least {SMALLEST[coefficient]} are needed"
        return Interval(None, None, method, reason, MIXTURES)
    if abs(value) == 1:
        reason = "the interval collapses at |r| = 1: too few points to tell, not certainty"
        return Interval(value, value, method, reason, MIXTURES)
    reach = stats.norm.ppf(0.975) * standard_error(coefficient, value, n)
    low, high = np.tanh(math.atanh(value) + np.array([-reach, reach]))
    return Interval(float(low), float(high), method, about=MIXTURES)


def mixture_jackknife(statistic: Statistic, sample: Sample, scale: Scale = FISHER_Z) -> Interval:
    """Leave out one mixture, on all targets, at a time: right for mixtures that share nothing."""
    present, cluster = np.unique(sample.mixture, return_inverse=True)
    if len(present) > MANY:
        return Interval(None, None, MIXTURE_JACKKNIFE, f"left out for more than {MANY} mixtures", MIXTURES)
    without = (cluster != np.arange(len(present))[:, None]).astype(float)
    interval = _jackknife(statistic, sample, without, scale)
    return Interval(interval.low, interval.high, MIXTURE_JACKKNIFE, interval.reason, MIXTURES)


def dataset_jackknife(statistic: Statistic, sample: Sample, scale: Scale = FISHER_Z) -> Interval:
    """Leave out one dataset, with its mixtures, at a time: right for mixtures that share datasets."""
    names = sample.datasets
    if not names:
        return Interval(None, None, JACKKNIFE, "the datasets of each mixture are not known", DATASETS)
    if len(names) < FEWEST_DATASETS:
        reason = f"cannot be told from fewer than {FEWEST_DATASETS} datasets, here are {len(names)}"
        return Interval(None, None, JACKKNIFE, reason, DATASETS)
    has = np.array([[name in members for members in sample.members or ()] for name in names])
    interval = _jackknife(statistic, sample, (~has[:, sample.mixture]).astype(float), scale)
    return Interval(interval.low, interval.high, JACKKNIFE, interval.reason, DATASETS)


def _jackknife(statistic: Statistic, sample: Sample, without: Floats, scale: Scale) -> Interval:
    """Return the interval from row counts without each of C things [C, n] (Arvesen 1969).

    On the scale z the variance is (C − 1)/C · Σ (z₍₋ᵢ₎ − z̄)², with t quantiles on C − 1 degrees of freedom.
    """
    if np.min(np.sum(without, axis=1)) < SMALLEST["pearson"]:
        return Interval(None, None, "", "with one of them left out, too few mixtures are left")
    there, back = scale
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, *left = there(statistic(sample, np.vstack([np.ones((1, sample.n)), without])))
    if not np.isfinite([whole, *left]).all():
        return Interval(
            None,
            None,
            "",
            "as it is, or with one of them left out, it is at the end of its range or not defined",
        )
    error = math.sqrt((len(left) - 1) * float(np.var(left)))
    low, high = back(whole + error * stats.t.ppf([0.025, 0.975], len(left) - 1))
    return Interval(float(low), float(high), "")
