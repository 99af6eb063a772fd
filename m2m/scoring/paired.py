"""By how much one model leads another over the same examples, and whether these can tell the two apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

#: Two-sided 95 % of the standard normal distribution.
Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Lead:
    """By how much a pick leads, over the same examples.

    Attributes:
        value: Mean of pick − other, in the metric's unit.
        low: Lower end of its 95 % interval (normal theory).
        high: Upper end; an interval that contains 0 cannot tell the two apart.
        n: Number of examples.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def tells_apart(self) -> bool:
        """Whether the interval is on one side of 0."""
        return self.low > 0 or self.high < 0

    @property
    def shown(self) -> str:
        """The difference and its interval, for people: `-0.0347 [-0.128, +0.058]`."""
        return f"{self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


def weighted_lead(rates: Sequence[float], leads: Sequence[Lead]) -> Lead:
    """Estimate the difference of two models' weighted sum of scores, each over examples of its own.

    Args:
        rates: What a unit of each score adds to the sum; taken as given. [S]
        leads: One model's lead over the other in each score, of independent samples. [S]

    Returns:
        Σ rate · lead; the samples' variances add up (normal theory). `n` counts all examples.
    """
    value = sum(rate * lead.value for rate, lead in zip(rates, leads, strict=True))
    half = math.hypot(*(rate * (lead.high - lead.low) / 2 for rate, lead in zip(rates, leads, strict=True)))
    return Lead(value, value - half, value + half, sum(lead.n for lead in leads))


def paired_lead(best: Sequence[float], other: Sequence[float]) -> Lead:
    """Estimate two models' mean difference over the same examples, with a 95 % interval: [E], [E], E > 1."""
    differences = [a - b for a, b in zip(best, other, strict=True)]
    mean = fmean(differences)
    half = Z95 * stdev(differences) / math.sqrt(len(differences))
    return Lead(mean, mean - half, mean + half, len(differences))
