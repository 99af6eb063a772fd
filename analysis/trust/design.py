"""Which mixtures to train: half for what can be said about all mixtures, half for what will be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.trust.landscape import RANDOM, TOP, mixtures_of
from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.arrays import Floats


@dataclass(frozen=True)
class Planned:
    """A mixture to train.

    Attributes:
        mixture: The mixture.
        row: Its row.
        purpose: `random`: drawn from all mixtures of two or more datasets, so that correlations over them
            can be estimated. `top`: the best left by merged score, since among them is what will be taken.
    """

    mixture: Mixture
    row: int
    purpose: str


def design(
    merged: ArrayLike,
    members: Sequence[Sequence[str] | Mixture],
    budget: int,
    seed: int = 0,
    *,
    higher_is_better: bool | Sequence[bool] = True,
) -> list[Planned]:
    """Say which mixtures to train, and each for what; single datasets need no training.

    Half of the budget, and the odd one, is a simple random sample of the mixtures of two or more datasets.
    The rest are those of the best merged score that are left, by turns where there are several targets. Of
    all trainings only the random ones can say how well merged scores agree with trained ones over all
    mixtures: the top ones are alike in merged score, which hides any correlation.

    Args:
        merged: Merged models' scores [C], or a row a target [T, C].
        members: A mixture a row: dataset names in equal parts, or a `Mixture`. [C]
        budget: Trainings.
        seed: Seed of the random sample.
        higher_is_better: Direction of the metric, or of each target's. [T]

    Returns:
        The mixtures to train: the random ones as drawn, then the top ones, best first. [budget]

    Raises:
        ConfigError: If the budget is no whole number of at least 2.
        InputError: If shapes do not fit, a score is not finite, or there are fewer mixtures than trainings.
    """
    if budget < 2:
        raise ConfigError(f"{argument('budget')} must be a whole number of at least 2, got {budget}")
    mixtures = mixtures_of(members)
    scores = _best_first(merged, len(mixtures), higher_is_better)
    several = np.array([row for row, mixture in enumerate(mixtures) if len(mixture.members) > 1])
    if budget > len(several):
        raise InputError(
            f"a budget of {budget} trainings, but there are {len(several)} mixtures of two or more datasets: "
            "train them all, or give a smaller budget"
        )
    drawn = np.random.default_rng(seed).choice(several, (budget + 1) // 2, replace=False)
    rows = [int(row) for row in drawn]
    turns = [iter(several[np.argsort(-target[several], kind="stable")]) for target in scores]
    while len(rows) < budget:
        best = turns[(len(rows) - len(drawn)) % len(turns)]
        rows.append(next(int(row) for row in best if row not in rows))
    return [
        Planned(mixtures[row], row, RANDOM if place < len(drawn) else TOP) for place, row in enumerate(rows)
    ]


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
