"""Many claims at once: what chance alone would make hold, and which verdicts stand in spite of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.validate.verdict import Verdict
from m2m.support.arrays import Floats

#: Chance of a wrong "holds" or "fails" among all claims asked of a run, after the correction.
LEVEL = 0.05
#: The correction, as it is written into every result.
CORRECTION = (
    "After Holm's correction over the claims asked of one run the chance of any wrong verdict among them is "
    "at most 5 %, however the claims depend on each other."
)


def holm(p: Floats, hypotheses: int) -> Floats:
    """Correct p-values for how many hypotheses there are (Holm 1979, Scand. J. Statist. 6:65).

    Args:
        p: The smallest p-values. [m]
        hypotheses: All of them, at least m; the others have larger ones.

    Returns:
        Corrected p-values, at most 1, in the same order. [m]
    """
    order = np.argsort(p, kind="stable")
    scaled = np.maximum.accumulate(p[order] * (hypotheses - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(scaled, 1)
    return corrected


def corrected(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Correct each run's verdicts for how many claims it was asked; the order stays.

    A claim is two hypotheses, that its quantity is not above the threshold and that it is not below, so that
    "holds" and "fails" are both covered. Only the smaller p-value of the two can be of use.

    Args:
        verdicts: Verdicts of one or several runs.

    Returns:
        The same, with `p_holm` and `outcome_holm`.
    """
    out = list(verdicts)
    for run in dict.fromkeys(verdict.run for verdict in verdicts):
        places = [i for i, verdict in enumerate(verdicts) if verdict.run == run and verdict.p is not None]
        p = np.array([verdicts[place].p for place in places], dtype=np.float64)
        for place, value in zip(places, holm(p, 2 * len(p)), strict=True):
            verdict = verdicts[place]
            outcome = verdict.outcome if value <= LEVEL else "unresolved"
            out[place] = replace(verdict, p_holm=float(value), outcome_holm=outcome)
    return tuple(out)


def expected_false(verdicts: Sequence[Verdict]) -> float:
    """Return how many "holds" chance alone would give: 2.5 % of the claims that have an interval.

    Expectations add whatever depends on what. It is an upper limit, reached if every quantity lay exactly at
    its threshold.
    """
    return 0.025 * sum(verdict.p is not None for verdict in verdicts)
