"""Pearson, Spearman and Kendall of one sample with their intervals, and how high they can get."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.intervals import IntervalEstimate
from analysis.fidelity.permutation import permutation_p
from analysis.fidelity.scores import Sample
from m2m.support.arrays import Floats

#: Fewer rows than this make any correlation meaningless, even where one can be computed.
FEWEST = 4
#: Correlations that attenuation theory speaks of; Kendall's tau is not a ratio of covariances.
ATTENUATED = ("pearson", "spearman")


@dataclass(frozen=True)
class Correlations:
    """The three coefficients of one sample.

    Attributes:
        pearson: Linear agreement.
        spearman: Agreement of ranks.
        kendall: Agreement of pairs (tau-b).
    """

    pearson: IntervalEstimate
    spearman: IntervalEstimate
    kendall: IntervalEstimate

    def to_json(self) -> dict[str, Any]:
        """Lay the coefficients out for JSON, by name."""
        return {name: getattr(self, name).to_json() for name in COEFFICIENTS}


def correlations(sample: Sample, seed: int) -> Correlations:
    """Compute the three coefficients."""
    return Correlations(*(correlation(name, sample, seed) for name in COEFFICIENTS))


def correlation(coefficient: str, sample: Sample, seed: int) -> IntervalEstimate:
    """Compute `pearson`, `spearman` or `kendall`; `low` and `high` are the textbook interval."""
    defect = sample.defect(FEWEST)
    if defect:
        return IntervalEstimate.missing(sample.n, defect)
    statistic = COEFFICIENTS[coefficient]
    value = float(statistic(sample, np.ones((1, sample.n)))[0])
    textbook = intervals.fisher(coefficient, value, sample.effective_n)
    return IntervalEstimate(
        value=value,
        low=textbook.low,
        high=textbook.high,
        n=sample.n,
        method=textbook.method,
        reason=textbook.reason,
        p=permutation_p(coefficient, sample, seed),
        intervals=(
            intervals.bootstrap(statistic, sample, seed),
            intervals.dataset_jackknife(statistic, sample),
        ),
    )


@dataclass(frozen=True)
class Ceiling:
    """Agreement of the truth with itself under a second training seed.

    Attributes:
        agreement: Coefficient name to the correlation of the first seed's trained scores with the second's.
        attainable: Coefficient name to √agreement: what a surrogate without error would reach.
        corrected: Coefficient name to correlation(merged, trained) / √agreement (Spearman 1904): agreement
            with the noise-free truth. May exceed 1, by chance or because surrogate and truth share a seed.
    """

    agreement: dict[str, IntervalEstimate]
    attainable: dict[str, float | None]
    corrected: dict[str, IntervalEstimate]

    def to_json(self) -> dict[str, Any]:
        """Lay the agreement of seeds out for JSON by coefficient, `attainable` and `corrected` inside."""
        return {
            name: self.agreement[name].to_json()
            | {"attainable": self.attainable[name], "corrected": self.corrected[name].to_json()}
            for name in ATTENUATED
        }


def ceiling(sample: Sample, again: Floats, seed: int) -> Ceiling:
    """Compare two seeds of the truth on the mixtures that have both; `again` is NaN for the others. [n]."""
    both = ~np.isnan(again)
    if not np.any(both):
        nothing = IntervalEstimate.missing(0, "no second training seed")
        return Ceiling(
            dict.fromkeys(ATTENUATED, nothing), dict.fromkeys(ATTENUATED), dict.fromkeys(ATTENUATED, nothing)
        )
    kept = sample.keep(both)
    seeds = replace(kept, merged=kept.trained, trained=again[both])
    agreement = {name: correlation(name, seeds, seed) for name in ATTENUATED}
    attainable = {
        name: math.sqrt(e.value) if e.value is not None and e.value > 0 else None
        for name, e in agreement.items()
    }
    corrected = {name: _corrected(name, kept, seeds, seed) for name in ATTENUATED}
    return Ceiling(agreement, attainable, corrected)


def _corrected(coefficient: str, surrogate: Sample, seeds: Sample, seed: int) -> IntervalEstimate:
    """Return the surrogate's correlation over √(the seeds' correlation), with a bootstrap interval."""
    defect = surrogate.defect(4) or seeds.defect(4)
    if defect:
        return IntervalEstimate.missing(surrogate.n, defect)
    statistic = COEFFICIENTS[coefficient]

    def ratio(sample: Sample, counts: Floats) -> Floats:
        reliability = statistic(seeds, counts)
        positive = np.where(reliability > 0, reliability, np.nan)
        return statistic(sample, counts) / np.sqrt(positive)

    value = float(ratio(surrogate, np.ones((1, surrogate.n)))[0])
    if math.isnan(value):
        return IntervalEstimate.missing(
            surrogate.n, "the two training seeds do not agree at all: there is no signal to correct for"
        )
    interval = intervals.bootstrap(ratio, surrogate, seed)
    return IntervalEstimate(value, interval.low, interval.high, surrogate.n, interval.method, interval.reason)
