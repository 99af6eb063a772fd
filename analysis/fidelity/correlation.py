"""Pearson, Spearman and Kendall of one sample with their intervals, and how high they can get."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.intervals import Estimate
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

    pearson: Estimate
    spearman: Estimate
    kendall: Estimate

    def to_json(self) -> dict[str, Any]:
        """Lay the coefficients out for a JSON file.

        Returns:
            Coefficient name to estimate.
        """
        return {name: getattr(self, name).to_json() for name in COEFFICIENTS}


def correlations(sample: Sample | None, seed: int, absent: str = "") -> Correlations:
    """Compute the three coefficients.

    Args:
        sample: The paired scores; None if there is none.
        seed: Seed of bootstrap and permutations.
        absent: Why there is no sample.

    Returns:
        The coefficients; without value, and with a reason, where the sample does not define them.
    """
    if sample is None:
        return Correlations(*[Estimate.missing(0, absent)] * len(COEFFICIENTS))
    return Correlations(*(correlation(name, sample, seed) for name in COEFFICIENTS))


def correlation(coefficient: str, sample: Sample, seed: int) -> Estimate:
    """Compute one coefficient with its intervals.

    Args:
        coefficient: `pearson`, `spearman` or `kendall`.
        sample: The paired scores.
        seed: Seed of bootstrap and permutations.

    Returns:
        The estimate; `low` and `high` are the textbook interval.
    """
    defect = sample.defect(FEWEST)
    if defect:
        return Estimate.missing(sample.n, defect)
    statistic = COEFFICIENTS[coefficient]
    value = float(statistic(sample, np.ones((1, sample.n)))[0])
    textbook = intervals.fisher(coefficient, value, sample.effective_n)
    return Estimate(
        value=value,
        low=textbook.low,
        high=textbook.high,
        n=sample.n,
        method=textbook.method,
        reason=textbook.reason,
        p=intervals.permutation_p(coefficient, sample, seed),
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

    agreement: dict[str, Estimate]
    attainable: dict[str, float | None]
    corrected: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Lay the ceiling out for a JSON file.

        Returns:
            Coefficient name to the agreement of seeds, with `attainable` and `corrected` inside.
        """
        return {
            name: self.agreement[name].to_json()
            | {"attainable": self.attainable[name], "corrected": self.corrected[name].to_json()}
            for name in ATTENUATED
        }


def ceiling(sample: Sample, again: Floats, seed: int) -> Ceiling:
    """Compare two seeds of the truth.

    Args:
        sample: Paired scores of surrogate and first seed.
        again: Trained scores of the second seed, NaN where there is none. [n]
        seed: Seed of bootstrap and permutations.

    Returns:
        The ceiling over the mixtures that have both; without values, with the reason, where there is none.
    """
    both = ~np.isnan(again)
    if not np.any(both):
        nothing = Estimate.missing(0, "no second training seed")
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


def _corrected(coefficient: str, surrogate: Sample, seeds: Sample, seed: int) -> Estimate:
    """Return the surrogate's correlation over √(the seeds' correlation), with a bootstrap interval."""
    defect = surrogate.defect(4) or seeds.defect(4)
    if defect:
        return Estimate.missing(surrogate.n, defect)
    statistic = COEFFICIENTS[coefficient]

    def ratio(sample: Sample, counts: Floats) -> Floats:
        reliability = statistic(seeds, counts)
        positive = np.where(reliability > 0, reliability, np.nan)
        return statistic(sample, counts) / np.sqrt(positive)

    value = float(ratio(surrogate, np.ones((1, surrogate.n)))[0])
    if math.isnan(value):
        return Estimate.missing(
            surrogate.n, "the two training seeds do not agree at all: there is no signal to correct for"
        )
    interval = intervals.bootstrap(ratio, surrogate, seed)
    return Estimate(value, interval.low, interval.high, surrogate.n, interval.method, interval.reason)
