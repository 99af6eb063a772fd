"""The rules of a race: the order of the examples, how candidates stand, and how the budget is spent.

The budget goes in rungs, each ending with at most half of the candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from m2m.errors import InputError
from m2m.support.arrays import Floats

#: Examples that every candidate is scored on, so that its variance can be told.
LEAST_EXAMPLES = 2


def spread_order(count: int, seed: int) -> list[int]:
    """Order the E examples so that every beginning of the order is spread evenly over them. [E]."""
    # Examples that lie close together (windows of one document, images of one class) are often alike. So the
    # order draws in turn from the first and the second half of the examples, within each half from its
    # halves, and so on. A random start, wrapping around, gives every example the same chance to be among the
    # first n: means over a beginning are unbiased, and vary at most about as much as in a random order.
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
    """How the k candidates of a race stand after the same n examples."""

    leader: int  #: row of the best mean; the first one of equals
    order: NDArray[np.int64]  #: rows, the leader first, then by how far behind they are for certain [k]
    chance: Floats  #: chance that a candidate's score over all examples is at least the leader's [k]


def standing(scores: Floats, examples: int) -> Standing:
    """Compare candidates with their leader, by n of E examples; scores [k, n], higher is better."""
    # The chance is Student's t of the mean paired difference, with the finite-population correction of a
    # sample of n out of E drawn without replacement (Cochran, "Sampling techniques", 1977, section 2.6):
    # standard error s·√(1/n − 1/E). Each variance counts n − 1 degrees of freedom of its own and one of the
    # candidates' mean variance, as a few equal differences prove little.
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


@dataclass(frozen=True)
class Rung:
    """One stage of a race."""

    examples: int  #: how many its candidates may be scored on by its end
    places: int  #: how many candidates may be left then


def allowed_evaluations(budget: float, candidates: int, examples: int) -> int:
    """Read a budget of `race`: the number of example evaluations, at least two a candidate, at most M·E."""
    whole = candidates * examples
    least = candidates * min(examples, LEAST_EXAMPLES)
    is_share = isinstance(budget, float)
    if isinstance(budget, bool) or not math.isfinite(budget) or budget <= 0 or (is_share and budget > 1):
        raise InputError(
            f"a race's budget is a number of example evaluations (int) or a share of all {whole} of them "
            f"(float in (0, 1]), got {budget!r}"
        )
    allowed = math.floor(budget * whole) if is_share else int(budget)
    if allowed < least:
        raise InputError(
            f"the race's budget of {allowed} example evaluations is too small: {candidates} candidates need "
            f"at least {least} (share {math.ceil(1e4 * least / whole) / 1e4:g} of {whole})"
        )
    return min(allowed, whole)


def next_rung(candidates: int, seen: int, examples: int, left: int) -> Rung:
    """Plan the next rung for k ≥ 2 candidates; it ends where they are when the budget `left` is spent."""
    # Where the budget can take every candidate to the last example, nobody has to go. Otherwise it is shared
    # among the rungs that halving k candidates down to two takes, each in proportion to the square root of
    # its number of candidates: between an equal share a rung, as in sequential halving (Karnin, Koren and
    # Somekh 2013, "Almost optimal exploration in multi-armed bandits"), and an equal number of examples.
    if left >= candidates * (examples - seen):
        return Rung(examples, candidates)
    sizes = [candidates]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    share = math.sqrt(sizes[0]) / sum(math.sqrt(size) for size in sizes)
    reached = max(seen + int(left * share) // candidates, LEAST_EXAMPLES)
    return Rung(min(examples, reached), sizes[1] if len(sizes) > 1 else candidates)


def next_step(seen: int, rung: Rung, examples: int) -> int:
    """How many examples to score before looking again: √E at first, then twice as many, until the rung's."""
    step = 2 * seen if seen else max(LEAST_EXAMPLES, math.isqrt(examples - 1) + 1)
    return min(step, rung.examples)
