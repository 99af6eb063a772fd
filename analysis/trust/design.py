"""Which mixtures to train: half for what can be said about all mixtures, half for what will be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.trust.landscape import RANDOM, TOP, mixtures_of
from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.arrays import Floats, Ints


@dataclass(frozen=True)
class Planned:
    """A mixture to train.

    Attributes:
        mixture: The mixture.
        row: Its row.
        purpose: `random`: drawn from all mixtures of two or more datasets, so that correlations over them
            can be estimated. `top`: the best left by merged score, since among them is what will be taken.
        trained: Whether it is trained already: drawn by chance it counts in the sample, and costs nothing.
    """

    mixture: Mixture
    row: int
    purpose: str
    trained: bool = False


def design(
    merged: ArrayLike,
    members: Sequence[Sequence[str] | Mixture],
    budget: int,
    seed: int = 0,
    *,
    higher_is_better: bool | Sequence[bool] = True,
    trained: ArrayLike | None = None,
    purposes: Sequence[str] = (),
) -> list[Planned]:
    """Say which mixtures to train, and each for what; single datasets need no training.

    Half of the budget, and the odd one, is a simple random sample of the mixtures of two or more datasets.
    The rest are those of the best merged score that are left, by turns where there are several targets. Of
    all trainings only the random ones can say how well merged scores agree with trained ones over all
    mixtures: the top ones are alike in merged score, which hides any correlation.

    The sample is drawn from all mixtures, trained or not, or it would say nothing about the trained ones.
    What is drawn and trained already is free, and leaves its place to the top. An earlier sample is
    enlarged: what it still waits for comes first, and the rest is drawn from the mixtures outside it.

    Args:
        merged: Merged models' scores [C], or a row a target [T, C].
        members: A mixture a row: dataset names in equal parts, or a `Mixture`. [C]
        budget: Trainings.
        seed: Seed of the random sample.
        higher_is_better: Direction of the metric, or of each target's. [T]
        trained: Whether each mixture is trained already; None: none is. [C]
        purposes: What each was trained for by an earlier design. [C], or none if there was no design

    Returns:
        The mixtures to train, as many as the budget: the random ones as drawn, then the top ones, best first.
        Among the random ones stand those that are free, marked as `trained`.

    Raises:
        ConfigError: If the budget is no whole number of at least 2.
        InputError: If shapes do not fit, a score is not finite, or fewer mixtures than trainings are left.
    """
    if budget < 2:
        raise ConfigError(f"{argument('budget')} must be a whole number of at least 2, got {budget}")
    mixtures = mixtures_of(members)
    scores = _best_first(merged, len(mixtures), higher_is_better)
    known = _known(trained, len(mixtures))
    drawn_before = np.array([purpose == RANDOM for purpose in purposes or [""] * len(mixtures)])
    if len(drawn_before) != len(mixtures):
        raise InputError(f"purposes: wanted one a mixture [{len(mixtures)}], got {len(drawn_before)}")
    several = np.array([row for row, mixture in enumerate(mixtures) if len(mixture.members) > 1], dtype=int)
    _check_budget(budget, several, known)
    sample = _joining(several, drawn_before, known, (budget + 1) // 2, np.random.default_rng(seed))
    waiting = [row for row in several if not known[row] and row not in sample]
    top = _top(scores, waiting, budget - sum(not known[row] for row in sample))
    return [
        *(Planned(mixtures[row], row, RANDOM, trained=bool(known[row])) for row in sample),
        *(Planned(mixtures[row], row, TOP) for row in top),
    ]


def _check_budget(budget: int, several: Ints, known: NDArray[np.bool_]) -> None:
    left = int(np.sum(~known[several]))
    if not left:
        raise InputError("every mixture of two or more datasets is trained already: nothing is left to train")
    if budget > left:
        which = " that are not trained" if left < len(several) else ""
        raise InputError(
            f"a budget of {budget} trainings, but there are {left} mixtures of two or more datasets{which}: "
            "train them all, or give a smaller budget"
        )


def _joining(
    several: Ints, before: NDArray[np.bool_], known: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> list[int]:
    """Draw what joins the sample, or is in it and still waits to be trained."""
    owed = several[before[several] & ~known[several]]
    outside = several[~before[several]]
    first = rng.choice(owed, min(size, len(owed)), replace=False)
    more = rng.choice(outside, min(size - len(first), len(outside)), replace=False)
    return [int(row) for row in (*first, *more)]


def _top(scores: Floats, waiting: Sequence[int], count: int) -> list[int]:
    """Take the best by merged score, the targets by turns. [count]."""
    rows = np.array(waiting, dtype=int)
    turns = [iter(rows[np.argsort(-target[rows], kind="stable")]) for target in scores]
    taken: list[int] = []
    while len(taken) < count:
        taken.append(next(int(row) for row in turns[len(taken) % len(turns)] if row not in taken))
    return taken


def _known(trained: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    known = np.zeros(count, dtype=bool) if trained is None else np.asarray(trained)
    if known.shape != (count,) or known.dtype != bool:
        raise InputError(
            f"trained: wanted true or false a mixture [{count}], got {known.dtype} {list(known.shape)}"
        )
    return known


def _best_first(merged: ArrayLike, count: int, higher_is_better: bool | Sequence[bool]) -> Floats:
    """Read scores as higher is better. [T, C]."""
    scores = np.atleast_2d(np.asarray(merged, dtype=np.float64))
    better = np.atleast_1d(np.asarray(higher_is_better, dtype=bool))
    if scores.ndim != 2 or scores.shape[1] != count or len(better) not in (1, len(scores)):
        raise InputError(
            f"merged: wanted a score a mixture [{count}], or a row of them a target, and as many directions; "
            f"got shape {list(scores.shape)} and {len(better)} directions"
        )
    if not np.isfinite(scores).all():
        raise InputError("merged: a score is not finite")
    return np.where(better, 1.0, -1.0)[:, None] * scores
