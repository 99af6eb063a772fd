"""Pearson, Spearman and Kendall of one sample with their intervals, and how high they can get."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.fidelity import intervals, repeats
from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.intervals import IntervalEstimate
from analysis.fidelity.permutation import permutation_p
from analysis.fidelity.repeats import Repeats
from analysis.fidelity.scores import Sample
from m2m.support.arrays import Floats

#: Fewer rows than this make any correlation meaningless, even where one can be computed.
FEWEST = 4
_NOT_REPEATED = "training seeds and test examples are not known"
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


def correlations(sample: Sample, seed: int, drawn: Repeats | str = _NOT_REPEATED) -> Correlations:
    """Compute the three coefficients; `drawn` repeats the sample's rows, or says why nothing does."""
    return Correlations(*(correlation(name, sample, seed, drawn) for name in COEFFICIENTS))


def correlation(
    coefficient: str, sample: Sample, seed: int, drawn: Repeats | str = _NOT_REPEATED
) -> IntervalEstimate:
    """Compute `pearson`, `spearman` or `kendall` with the intervals that hold for such rows.

    Args:
        coefficient: Its name.
        sample: The rows.
        seed: Seed of the permutations.
        drawn: Repetitions of the rows, or why there are none.

    Returns:
        The coefficient. Where mixtures share datasets, its intervals are about these mixtures, trained and
        tested again, and about new datasets; where they share nothing, or nobody knows, about new mixtures.
    """
    defect = sample.defect(FEWEST)
    if defect:
        return IntervalEstimate.missing(sample.n, defect)
    statistic = COEFFICIENTS[coefficient]
    value = float(statistic(sample, np.ones((1, sample.n)))[0])
    if sample.shares_datasets:
        found = (
            repeats.interval(coefficient, value, sample, drawn),
            intervals.dataset_jackknife(statistic, sample),
        )
    else:
        found = (
            intervals.mixture_jackknife(statistic, sample),
            intervals.fisher(coefficient, value, sample.effective_n),
        )
    return IntervalEstimate.of(value, sample.n, found, permutation_p(coefficient, sample, seed))


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


def ceiling(sample: Sample, again: Floats, seed: int, drawn: Repeats | str = _NOT_REPEATED) -> Ceiling:
    """Compare two seeds of the truth on the mixtures that have both.

    Args:
        sample: The rows.
        again: The second seed's score of each, NaN where there is none. [n]
        seed: Seed of the permutations.
        drawn: Repetitions of both seeds' scores (`redraw_seeds`), or why there are none.

    Returns:
        Their agreement, and what it allows.
    """
    both = ~np.isnan(again)
    if not np.any(both):
        nothing = IntervalEstimate.missing(0, "no second training seed")
        return Ceiling(
            dict.fromkeys(ATTENUATED, nothing), dict.fromkeys(ATTENUATED), dict.fromkeys(ATTENUATED, nothing)
        )
    kept = sample.keep(both)
    seeds = replace(kept, merged=kept.trained, trained=again[both])
    repeated = drawn if isinstance(drawn, str) else drawn.keep(both)
    agreement = {name: correlation(name, seeds, seed, repeated) for name in ATTENUATED}
    attainable = {
        name: math.sqrt(e.value) if e.value is not None and e.value > 0 else None
        for name, e in agreement.items()
    }
    corrected = {name: _corrected(name, kept, seeds) for name in ATTENUATED}
    return Ceiling(agreement, attainable, corrected)


def _corrected(coefficient: str, surrogate: Sample, seeds: Sample) -> IntervalEstimate:
    """Return the surrogate's correlation over √(the seeds' correlation), with a jackknife's interval."""
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
    jackknife = intervals.dataset_jackknife if surrogate.shares_datasets else intervals.mixture_jackknife
    # The ratio may exceed 1: no atanh.
    return IntervalEstimate.of(value, surrogate.n, (jackknife(ratio, surrogate, intervals.AS_IT_IS),))
