"""How a race spends its budget: in rungs, each ending with at most half of the candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from m2m.errors import InputError

#: Examples that every candidate is scored on, so that its variance can be told.
LEAST_EXAMPLES = 2


@dataclass(frozen=True)
class Rung:
    """One stage of a race.

    Attributes:
        examples: How many examples its candidates may be scored on by its end.
        places: How many candidates may be left then.
    """

    examples: int
    places: int


def allowed_evaluations(budget: float, candidates: int, examples: int) -> int:
    """Read a budget.

    Args:
        budget: An int is a number of example evaluations (one candidate on one example); a float in (0, 1]
            the share of all M·E of them.
        candidates: M.
        examples: E.

    Returns:
        The number of example evaluations, at most M·E.

    Raises:
        InputError: If it does not pay for two examples a candidate; names the least budget.
    """
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
    """Plan the next rung of a race.

    Where the budget can take every candidate to the last example, nobody has to go. Otherwise it is shared
    among the rungs that halving k candidates down to two takes, each in proportion to the square root of
    its number of candidates: between an equal share a rung, as in sequential halving (Karnin, Koren and
    Somekh 2013, "Almost optimal exploration in multi-armed bandits"), and an equal number of examples.

    Args:
        candidates: Candidates in the race, k ≥ 2.
        seen: Examples that they were scored on so far.
        examples: E.
        left: Example evaluations left.

    Returns:
        The rung; its `examples` equal `seen` when the budget is spent.
    """
    if left >= candidates * (examples - seen):
        return Rung(examples, candidates)
    sizes = [candidates]
    while sizes[-1] > 2:
        sizes.append((sizes[-1] + 1) // 2)
    share = math.sqrt(sizes[0]) / sum(math.sqrt(size) for size in sizes)
    reached = max(seen + int(left * share) // candidates, LEAST_EXAMPLES)
    return Rung(min(examples, reached), sizes[1] if len(sizes) > 1 else candidates)


def next_step(seen: int, rung: Rung, examples: int) -> int:
    """Say on how many examples to score before looking again: √E at first, then twice as many as before.

    Args:
        seen: Examples scored so far.
        rung: The rung.
        examples: E.

    Returns:
        The number of examples to reach, at most the rung's.
    """
    step = 2 * seen if seen else max(LEAST_EXAMPLES, math.isqrt(examples - 1) + 1)
    return min(step, rung.examples)
