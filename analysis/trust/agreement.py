"""How well merged scores agree with trained ones over all mixtures, from those trained by chance.

The mixtures are a finite population, known to the last one, and the trainings a simple random sample of it:
that alone makes the interval right, whatever mixtures share. Its width is the textbook's times
√(1 − n/M), the finite population correction (Cochran 1977, chapter 2), as nothing is left to estimate
once all M are trained. Single datasets are no part of it: their merged models are the trained ones.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from analysis.fidelity.intervals import SMALLEST, IntervalEstimate, standard_error
from analysis.trust.landscape import RANDOM, Landscape
from m2m.support.arrays import Floats

#: Fewest mixtures trained by chance, by coefficient: of five, ranks agree in so few ways that intervals fail.
FEWEST = {"pearson": SMALLEST["pearson"], "spearman": 6}


def agreement(landscape: Landscape, coefficient: str = "pearson") -> IntervalEstimate:
    """Estimate the correlation of merged and trained scores over all mixtures of two or more datasets.

    Args:
        landscape: The scores, with what each mixture was trained for.
        coefficient: `pearson` (Fisher 1921) or `spearman` (Bonett and Wright 2000).

    Returns:
        The estimate with a 95 % interval; no value but a reason if too few mixtures were trained by chance.
        Those trained for being the best by merging say nothing about the others, and do not count. Where
        every mixture is trained there is nothing to sample, and no interval; trained scores are means over
        training seeds, `analysis.fidelity`'s are of the first seed.
    """
    several, measured = landscape.several, landscape.measured
    there = several & np.isfinite(measured)
    if there.sum() == several.sum():
        return _census(landscape, coefficient)
    if not landscape.purposes:
        return IntervalEstimate.missing(
            0, "it is not known which mixtures were trained by chance (column purpose, from a design)"
        )
    drawn = several & (np.array(landscape.purposes) == RANDOM)
    sample = drawn & there
    n, least = int(sample.sum()), FEWEST[coefficient]
    if n < least:
        there_are = "there is 1" if n == 1 else f"there are {n}"
        reason = f"it needs {least} trained mixtures that were drawn by chance, and {there_are}"
        return IntervalEstimate.missing(n, reason)
    value = _coefficient(landscape.merged[sample], measured[sample], coefficient)
    if value is None:
        return IntervalEstimate.missing(n, "all scores of the mixtures drawn by chance are equal")
    if abs(value) == 1:
        return IntervalEstimate(value, None, None, n, reason="at ±1 too few points to tell how sure")
    error = standard_error(coefficient, value, n) * math.sqrt(1 - n / int(several.sum()))
    low, high = np.tanh(math.atanh(value) + stats.norm.ppf(0.975) * error * np.array([-1, 1]))
    waiting = int(drawn.sum()) - n
    reason = f"{waiting} drawn by chance are not trained yet: right if that is chance too" if waiting else ""
    return IntervalEstimate(value, float(low), float(high), n, "simple random sample", reason)


def _census(landscape: Landscape, coefficient: str) -> IntervalEstimate:
    merged, trained = landscape.merged[landscape.several], landscape.measured[landscape.several]
    value = _coefficient(merged, trained, coefficient) if len(merged) > 1 else None
    if value is None:
        return IntervalEstimate.missing(len(merged), "too few mixtures, or equal scores")
    seeds = len(landscape.trained)
    averaged = f"scores are means of {seeds} training seeds; " if seeds > 1 else ""
    reason = f"every mixture is trained: {averaged}no sampling error; other training seeds are not in this"
    return IntervalEstimate(value, None, None, len(merged), reason=reason)


def _coefficient(merged: Floats, trained: Floats, coefficient: str) -> float | None:
    if np.ptp(merged) == 0 or np.ptp(trained) == 0:
        return None
    if coefficient == "spearman":
        merged, trained = stats.rankdata(merged), stats.rankdata(trained)
    return float(np.clip(np.corrcoef(merged, trained)[0, 1], -1, 1))
