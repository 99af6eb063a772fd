"""Trainings that a run decides on as it goes: by chance and by expected gain, in turns.

The order in which mixtures are drawn is shuffled once, by the seed. After t trainings the sample is what was
drawn beforehand and the order's first ⌈t/2⌉, whatever else they were trained for: how many depends on t
alone, so that it is a simple random sample (as in `design`). All other trainings go to what `next_training`
says. So an even number of trainings is the beginning of any larger number: a run that is given more goes on
as if it had had them from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.trust.belief import FEWEST, Belief, believe
from analysis.trust.choice import LEVEL, Choice, choice, next_training, pick, within
from analysis.trust.design import Planned
from analysis.trust.landscape import NEXT, RANDOM, TOP, Landscape
from analysis.trust.study import Trust, estimate_to_json, study
from m2m.errors import InputError


@dataclass(frozen=True)
class Round:
    """What to train together: one mixture drawn by chance and one contender, where both have their turn.

    Attributes:
        planned: The mixtures, and those that were drawn and are trained already; none if nothing is left.
        probability: That the best trained mixture is within the tolerance; None before there is a belief.
    """

    planned: tuple[Planned, ...]
    probability: float | None


def next_round(
    landscapes: Sequence[Landscape],
    before: Sequence[Planned],
    left: int | None,
    given: Sequence[int] = (),
    tolerance: float = 0.05,
    seed: int = 0,
) -> Round:
    """Say what to train next.

    Args:
        landscapes: The scores of each target, the one that the mixture is chosen for first; the others
            teach it.
        before: What was planned so far, in order.
        left: Trainings that may still be made; None: as many as there are.
        given: Rows that were drawn by chance beforehand and are trained: the sample begins with them.
        tolerance: ε of the probability, a share of the range of trained scores.
        seed: Seed of the order of chance, the same in every round, and of all draws.

    Returns:
        The round: its contender is the best merged score left while there are too few trainings for a belief.
    """
    first, beliefs = landscapes[0], _beliefs(landscapes, seed)
    belief = beliefs[0] if beliefs else None
    probability = None if belief is None else within(belief, first.best(first.measured), tolerance)
    planned: list[Planned] = []
    room = len(first.mixtures) if left is None else left
    if room > 0 and (drawn := _drawn(first, before, given, seed)) is not None:
        planned.append(drawn)
        room -= not drawn.trained
    if room > 0 and (contender := _contender(first, belief, {one.row for one in planned})) is not None:
        planned.append(contender)
    return Round(tuple(planned), probability)


def judged(landscapes: Sequence[Landscape], tolerance: float = 0.05, seed: int = 0) -> Trust:
    """Study the targets that have trainings enough, the first of which must.

    Args:
        landscapes: The scores of each target, the one that the mixture is chosen for first.
        tolerance: ε of "within ε of the best", a share of the range of trained scores.
        seed: Seed of all draws.

    Returns:
        The study.

    Raises:
        InputError: If the first target has fewer than two trained mixtures of two or more datasets.
    """
    enough = landscapes[0].trained_several
    if enough < FEWEST:
        there_are = "there is 1" if enough == 1 else f"there are {enough}"
        raise InputError(f"it takes {FEWEST} trained mixtures of two or more datasets, and {there_are}")
    return study(_with_trainings(landscapes), tolerance=tolerance, seed=seed)


def verdict(found: Trust) -> dict[str, Any]:
    """Lay out for a run's results what the study says of its first target, all mixtures considered.

    Args:
        found: The study, as from `judged`.

    Returns:
        How good the best trained mixture (`pick`) and merging's own (`merging`) are, the agreement, the range
        of trained scores, and what to train next.
    """
    target = next(iter(found.by.values()))
    belief = target.belief
    landscape, believed, following = belief.landscape, pick(belief), next_training(belief)
    return {
        "mixtures": int(landscape.several.sum()),
        "trained": landscape.trained_several,
        "tolerance": found.tolerance,
        "limit_level": LEVEL,
        "range": float(np.mean(np.ptp(belief.draws, axis=1))),
        "pick": _taken(belief, target.measured, found.tolerance),
        "merging": _taken(belief, target.merging, found.tolerance),
        "believed": _taken(belief, choice(belief, believed), found.tolerance),
        **{name: estimate_to_json(estimate) for name, estimate in target.agreement.items()},
        "next": None if following is None else following.to_json(),
    }


def _taken(belief: Belief, taken: Choice, tolerance: float) -> dict[str, Any]:
    return {
        "mixture": list(belief.landscape.mixtures[taken.row].members),
        "trained": taken.trained,
        "regret": taken.regret,
        "limit": taken.limit,
        "within": within(belief, taken.row, tolerance),
    }


def _with_trainings(landscapes: Sequence[Landscape]) -> list[Landscape]:
    return [each for each in landscapes if each.trained_several >= FEWEST]


def _beliefs(landscapes: Sequence[Landscape], seed: int) -> list[Belief]:
    """Form the beliefs, the first target's first; none if that has too few trainings."""
    return believe(_with_trainings(landscapes), seed) if landscapes[0].trained_several >= FEWEST else []


def _drawn(
    landscape: Landscape, before: Sequence[Planned], given: Sequence[int], seed: int
) -> Planned | None:
    """Draw the next mixture of the sample, if its turn has come."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(landscape.several))
    drawn = {*given, *(one.row for one in before if one.purpose == RANDOM)}
    turns = sum(not one.trained for one in before) + 1
    if len(drawn) >= min(len(given) + (turns + 1) // 2, len(order)):
        return None
    row = int(next(row for row in order if row not in drawn))
    return Planned(landscape.mixtures[row], row, RANDOM, bool(np.isfinite(landscape.measured[row])))


def _contender(landscape: Landscape, belief: Belief | None, besides: set[int]) -> Planned | None:
    """Choose what may be the best among the untrained."""
    untrained = [row for row in np.flatnonzero(np.isnan(landscape.measured)) if row not in besides]
    if not untrained:
        return None
    scores = np.full(len(landscape.mixtures), np.nan)
    scores[untrained] = (landscape.merged if belief is None else belief.mean)[untrained]
    row, purpose = landscape.best(scores), TOP
    if belief is not None:
        purpose = NEXT
        following = next_training(belief, besides)
        if following is not None and following.after < following.regret:
            row = following.row
    return Planned(landscape.mixtures[row], row, purpose)
