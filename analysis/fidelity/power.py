"""How many mixtures must be trained to know a correlation to a given width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy import stats

from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.correlation import Correlations
from analysis.fidelity.intervals import JACKKNIFE, SMALLEST, IntervalEstimate, standard_error
from m2m.errors import InputError

#: Widths (upper less lower end) of the 95 % interval that are planned for.
WIDTHS = (0.4, 0.2, 0.1)


@dataclass(frozen=True)
class Plan:
    """Mixtures needed for an interval of one width, if the correlation is what was found.

    Attributes:
        width: Upper less lower end of the 95 % interval.
        mixtures: Trained mixtures needed if rows were independent.
        dependent: Trained mixtures needed with the design effect; None if that is not known.
        datasets: Fewest datasets N that have so many subsets, 2^N − 1 ≥ `dependent` (or `mixtures`).
    """

    width: float
    mixtures: int
    dependent: int | None
    datasets: int


@dataclass(frozen=True)
class Power:
    """Plans for one coefficient.

    Attributes:
        value: The correlation that is assumed: the one found.
        design_effect: Variance of the dataset jackknife over the textbook one on the atanh scale, at least 1:
            by how much mixtures that share datasets tell less than independent rows. None if not known.
        plans: A plan a width.
        reason: Why something is missing; empty otherwise.
    """

    value: float | None
    design_effect: float | None
    plans: tuple[Plan, ...]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON, a plan a width."""
        return {
            "value": self.value,
            "design_effect": self.design_effect,
            "plans": [vars(plan) for plan in self.plans],
            "reason": self.reason,
        }


def mixtures_needed(coefficient: str, value: float, width: float, design_effect: float = 1.0) -> int:
    """Find the smallest n whose 95 % interval tanh(atanh(value) ± h) is at most this wide.

    With z = atanh(value): tanh(z + h) − tanh(z − h) = 2 sinh 2h / (cosh 2z + cosh 2h), which grows with h;
    set equal to the width it is a quadratic equation in exp 2h. Then h = 1.96 · s/√(n − b) gives n, where s
    and b are Fisher's (Pearson), Bonett and Wright's (Spearman; Psychometrika 65:23, 2000) or Fieller's
    (Kendall).

    Args:
        coefficient: `pearson`, `spearman` or `kendall`.
        value: The correlation expected, within (−1, 1).
        width: Upper less lower end of the interval, within (0, 2).
        design_effect: Factor by which dependence multiplies the variance.

    Returns:
        The number of rows n.

    Raises:
        InputError: If coefficient, value, width or design effect make no sense.
    """
    if coefficient not in COEFFICIENTS:
        raise InputError(f"no coefficient {coefficient!r}; there are {', '.join(COEFFICIENTS)}")
    if not (abs(value) < 1 and 0 < width < 2 and 0 < design_effect < math.inf):
        raise InputError(
            f"wanted a correlation within (-1, 1), a width within (0, 2) and a positive design effect, "
            f"got {value}, {width} and {design_effect}"
        )
    smallest = SMALLEST[coefficient]
    lost = smallest - 1
    spread = standard_error(coefficient, value, smallest)  # of n = smallest: s/√1
    reach = _reach(value, width)
    rows = design_effect * (float(stats.norm.ppf(0.975)) * spread / reach) ** 2
    return max(smallest, lost + math.ceil(rows))


def _reach(value: float, width: float) -> float:
    """Return h with tanh(z + h) − tanh(z − h) = width."""
    middle = width * math.cosh(2 * math.atanh(value))
    root = math.sqrt(middle**2 + 4 - width**2)
    return math.log((middle + root) / (2 - width)) / 2


def power(correlations: Correlations, datasets: int) -> dict[str, Power]:
    """Plan for each coefficient that was found; `datasets` is the N of the dataset jackknife."""
    return {name: _power(name, getattr(correlations, name), datasets) for name in COEFFICIENTS}


def _power(coefficient: str, found: IntervalEstimate, datasets: int) -> Power:
    if found.value is None or abs(found.value) == 1:
        return Power(found.value, None, (), found.reason)
    effect = _design_effect(found, datasets)
    plans = tuple(_plan(coefficient, found.value, width, effect) for width in WIDTHS)
    reason = "" if effect is not None else "no dataset jackknife: rows are taken as independent"
    return Power(found.value, effect, plans, reason)


def _plan(coefficient: str, value: float, width: float, effect: float | None) -> Plan:
    alone = mixtures_needed(coefficient, value, width)
    dependent = None if effect is None else mixtures_needed(coefficient, value, width, effect)
    return Plan(width, alone, dependent, (dependent or alone).bit_length())


def _design_effect(found: IntervalEstimate, datasets: int) -> float | None:
    """Return the ratio of the two intervals' variances on the atanh scale, at least 1."""
    jackknife = next((i for i in found.intervals if i.method == JACKKNIFE), None)
    ends = (found.low, found.high) + ((jackknife.low, jackknife.high) if jackknife else (None, None))
    if any(end is None or abs(end) >= 1 for end in ends):
        return None
    low, high, left, right = (math.atanh(end) for end in ends if end is not None)
    textbook = (high - low) / float(stats.norm.ppf(0.975))
    clustered = (right - left) / float(stats.t.ppf(0.975, datasets - 1))
    return max(1.0, (clustered / textbook) ** 2)
