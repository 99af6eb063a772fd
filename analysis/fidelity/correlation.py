"""Pearson, Spearman and Kendall of one sample, each with its intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.fidelity import intervals, statistics
from analysis.fidelity.estimate import Estimate
from analysis.fidelity.sample import Sample
from analysis.fidelity.statistics import Statistic

COEFFICIENTS: dict[str, Statistic] = {
    "pearson": statistics.pearson,
    "spearman": statistics.spearman,
    "kendall": statistics.kendall,
}
#: Fewer rows than this make any correlation meaningless, even where one can be computed.
FEWEST = 4


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
