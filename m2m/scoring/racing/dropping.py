"""Which candidates of a race can still be the best: paired differences to the leader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Standing:
    """How the candidates of a race stand after the same n examples.

    Attributes:
        leader: Row of the best mean; the first one of equals.
        order: Rows, the leader first, then by how far behind they are for certain. [k]
        chance: Chance that a candidate's score over all examples is at least the leader's. [k]
    """

    leader: int
    order: NDArray[np.int64]
    chance: Floats


def standing(scores: Floats, examples: int) -> Standing:
    """Compare the candidates of a race with their leader, example by example.

    The chance is Student's t of the mean paired difference, with the finite-population correction of a
    sample of n out of E drawn without replacement (Cochran, "Sampling techniques", 1977, section 2.6):
    standard error s·√(1/n − 1/E). Each variance counts n − 1 degrees of freedom of its own and one of the
    candidates' mean variance, as a few equal differences prove little.

    Args:
        scores: Scores on the examples seen, higher is better. [k, n]
        examples: Number of examples E in all.

    Returns:
        Where they stand.
    """
    from scipy.special import stdtr

    seen = scores.shape[1]
    leader = int(scores.mean(axis=1).argmax())
    gaps = scores[leader] - scores
    behind = gaps.mean(axis=1)
    others = np.arange(len(scores)) != leader
    error = np.zeros(len(scores))
    if seen < examples:
        raw = gaps.var(axis=1, ddof=1)
        variance = ((seen - 1) * raw + raw[others].mean()) / seen
        error = np.sqrt(variance * (1 / seen - 1 / examples))
    with np.errstate(divide="ignore", invalid="ignore"):
        surely = np.where(behind > 0, behind / error, 0.0)
    surely[leader] = -1.0
    chance = np.where(surely > 0, stdtr(max(seen - 1, 1), -surely), 0.5)
    chance[leader] = 1.0
    return Standing(leader, np.argsort(surely, kind="stable"), chance)
