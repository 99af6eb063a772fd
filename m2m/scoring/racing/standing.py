"""How candidates stand after some examples, drawn in an order that is spread over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from m2m.support.arrays import Floats


def spread_order(count: int, seed: int) -> list[int]:
    """Order the examples so that every beginning of the order is spread evenly over them.

    Examples that lie close together (windows of one document, images of one class) are often alike. So the
    order draws in turn from the first and the second half of the examples, within each half from its halves,
    and so on. A random start, wrapping around, gives every example the same chance to be among the first n:
    means over a beginning are unbiased, and vary at most about as much as in a random order.

    Args:
        count: Number of examples E.
        seed: Decides the order.

    Returns:
        All example numbers, once each. [E]
    """
    generator = np.random.default_rng(seed)
    start = int(generator.integers(count)) if count else 0
    return _interleaved([(start + i) % count for i in range(count)], generator)


def _interleaved(examples: Sequence[int], generator: Generator) -> list[int]:
    if len(examples) <= 1:
        return list(examples)
    odd_one = len(examples) % 2 and int(generator.integers(2))
    middle = len(examples) // 2 + odd_one
    halves = [_interleaved(half, generator) for half in (examples[:middle], examples[middle:])]
    first = int(generator.integers(len(examples)) >= middle)  # the larger half begins more often
    one, other = halves[first], halves[1 - first]
    order = [example for pair in zip(one, other, strict=False) for example in pair]
    shared = min(len(one), len(other))
    return order + one[shared:] + other[shared:]


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
