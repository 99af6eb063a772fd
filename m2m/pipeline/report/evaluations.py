"""What the pick would have lost had fewer mixtures been merged and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m2m.pipeline.report.scored import Scored, ScoredTarget
from m2m.support.arrays import Floats

#: Most numbers of evaluations that a curve is drawn at.
_POINTS = 60


@dataclass(frozen=True)
class Evaluations:
    """Regret of the best merged mixture so far, over how many were scored.

    Attributes:
        counts: Numbers of evaluations. [C]
        by_chance: Expected regret where so many are drawn at random without replacement. [C]
        in_order: Regret in the order in which the run scored them. [C]
        measured: Whether regret is of trained scores, and not of merged ones.
        of: How many mixtures there are scores of.
    """

    counts: list[int]
    by_chance: Floats
    in_order: Floats
    measured: bool
    of: int


def evaluations(target: ScoredTarget) -> Evaluations | None:
    """Compute regret over evaluations on a target; None with fewer than two mixtures.

    Where every merged mixture was trained too, the regret of a pick is what its trained score loses against
    the best trained one; else what its merged score loses against the best merged one.

    Args:
        target: The mixtures and their scores.

    Returns:
        Both curves.
    """
    scored = target.merged
    if len(scored) < 2:
        return None
    measured = len(target.trained) == len(scored)
    merged = _upwards(scored, target, trained=False)
    judged = _upwards(scored, target, trained=measured)
    regret = judged.max() - judged
    total = len(scored)
    counts = sorted({round(x) for x in np.geomspace(1, total, min(total, _POINTS))})
    # Equal scores keep their order, as the best so far does: the first of equals stays the pick.
    best_first = np.argsort(-merged, kind="stable")
    by_chance = np.array([_expected(regret[best_first], count) for count in counts])
    so_far = np.maximum.accumulate(merged)
    leader = np.array([int(np.argmax(merged[: n + 1] == so_far[n])) for n in range(total)])
    in_order = regret[leader][np.array(counts) - 1]
    return Evaluations(counts, by_chance, in_order, measured, total)


def _upwards(scored: Sequence[Scored], target: ScoredTarget, *, trained: bool) -> Floats:
    scores = [one.truth if trained else one.merged for one in scored]
    return np.array([target.better(score) for score in scores if score is not None])


def _expected(regret: Floats, count: int) -> float:
    """Return the mean regret of the first, best first, of `count` drawn out of all: a hypergeometric mean."""
    # P(the k-th best is the best drawn) = P(it is) · P(none better is): a product, so nothing overflows.
    total = len(regret)
    chance, expected = count / total, 0.0
    for place in range(total - count + 1):
        expected += chance * float(regret[place])
        if place < total - count:
            chance *= (total - count - place) / (total - place - 1)
    return expected
