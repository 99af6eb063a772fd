"""Repeated-measures correlation: one line a target, all with the same slope (analysis of covariance).

Bland and Altman 1995 (BMJ 310:446); Bakdash and Marusich 2017 (Frontiers in Psychology 8:456).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from analysis.fidelity.correlation import correlation
from analysis.fidelity.estimate import Estimate, Interval
from analysis.fidelity.sample import Sample
from analysis.fidelity.statistics import strata


@dataclass(frozen=True)
class RepeatedMeasures:
    """Analysis of covariance: trained score = its target's level + slope · merged score + error.

    Attributes:
        r: Its correlation, sign(slope) · √(sum of squares of the slope / (that + of the error)); the interval
            is Fisher's with n − k + 1 for n.
        slope: The common slope, trained score per merged score, with its t interval.
        f: F statistic of "the slope is zero", on 1 and `df` degrees of freedom; infinite if the fit is exact.
        df: Degrees of freedom of the error, n − k − 1 for n rows of k targets.
        p: Its p-value, as if rows were independent within a target.
        unequal_slopes_p: p-value of "all targets have this slope", on k − 1 and n − 2k degrees of freedom;
            None if a target is too small for its own slope. Small: read the targets one by one.
        reason: Why there is nothing; empty otherwise.
    """

    r: Estimate
    slope: Interval | None
    slope_value: float | None
    f: float | None
    df: int
    p: float | None
    unequal_slopes_p: float | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for a JSON file.

        Returns:
            The attributes; the slope as `value`, `low`, `high`.
        """
        slope = None
        if self.slope is not None:
            slope = {"value": self.slope_value, "low": self.slope.low, "high": self.slope.high}
        return {
            "r": self.r.value,
            "low": self.r.low,
            "high": self.r.high,
            "n": self.r.n,
            "df": self.df,
            "f": self.f if self.f is not None and math.isfinite(self.f) else None,
            "p": self.p,
            "slope": slope,
            "unequal_slopes_p": self.unequal_slopes_p,
            "reason": self.reason,
        }


def repeated_measures(sample: Sample, seed: int) -> RepeatedMeasures:
    """Fit the common slope.

    Args:
        sample: Paired scores of several targets.
        seed: Seed of the correlation's bootstrap and permutations.

    Returns:
        The fit; without numbers, with the reason, where it is not defined.
    """
    return from_correlation(sample, correlation("pearson", sample, seed))


def from_correlation(sample: Sample, r: Estimate) -> RepeatedMeasures:
    """Fit the common slope to a sample whose pooled Pearson correlation is known.

    Args:
        sample: Paired scores of several targets.
        r: Its pooled Pearson correlation.

    Returns:
        The fit; without numbers, with the reason, where it is not defined.
    """
    df = sample.n - sample.strata - 1
    if r.value is None:
        return RepeatedMeasures(r, None, None, None, df, None, None, r.reason)
    sums = np.array([_sums(sample.merged[rows], sample.trained[rows]) for rows in strata(sample)])
    xx, xy, yy = sums.sum(axis=0)
    slope = xy / xx
    error = max(0.0, (1 - r.value**2) * yy)
    reach = stats.t.ppf(0.975, df) * math.sqrt(error / df / xx)
    f = df * r.value**2 / (1 - r.value**2) if abs(r.value) < 1 else math.inf
    return RepeatedMeasures(
        r=r,
        slope=Interval(float(slope - reach), float(slope + reach), "analysis of covariance"),
        slope_value=float(slope),
        f=f,
        df=df,
        p=float(stats.f.sf(f, 1, df)),
        unequal_slopes_p=_unequal_slopes(sums, error, sample.n),
    )


def _sums(merged: np.ndarray, trained: np.ndarray) -> tuple[float, float, float]:
    """Return Σuu, Σuv and Σvv of one target's centred scores."""
    u, v = merged - merged.mean(), trained - trained.mean()
    return float(u @ u), float(u @ v), float(v @ v)


def _unequal_slopes(sums: np.ndarray, error: float, n: int) -> float | None:
    xx, xy, yy = sums.T
    targets, df = len(sums), n - 2 * len(sums)
    if targets < 2 or df < 1 or np.min(xx) == 0:
        return None
    own = float(np.sum(yy - xy * (xy / xx)))
    if own <= np.finfo(float).eps * float(np.sum(yy)):
        return None
    return float(stats.f.sf((error - own) / (targets - 1) / (own / df), targets - 1, df))
