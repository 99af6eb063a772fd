"""What a belief says about choosing: the pick, its regret, which mixture may be best, what to train next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from analysis.trust.belief import Belief
from m2m.errors import InputError
from m2m.support.arrays import Floats

#: Tolerances ε of "within ε of the best", as shares of the range of a landscape's trained scores.
TOLERANCES = (0.0, 0.05, 0.1)
#: Level of the upper limit of a regret.
LEVEL = 0.95
#: Points at which the chance of one more training's score is integrated.
_NODES = 15
#: Numbers that are looked at together, so that memory stays bounded.
_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Choice:
    """One mixture as the one that is taken; scores are in the metric's unit.

    Attributes:
        mixture: Its label.
        row: Its row.
        trained: Whether its trained score was measured.
        merged: Score of the merged model.
        mean: Expected trained score.
        sd: Standard deviation of that.
        regret: Expected loss against the best mixture, ≥ 0.
        limit: What that loss stays below with probability `LEVEL`.
        within: Tolerance ε to the probability that the loss is at most ε of the range of trained scores.
    """

    mixture: str
    row: int
    trained: bool
    merged: float
    mean: float
    sd: float
    regret: float
    limit: float
    within: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON."""
        return asdict(self)


def pick(belief: Belief) -> int:
    """Return the row of the best expected trained score, which is that of the least expected regret."""
    return belief.landscape.best(belief.mean)


def regrets(belief: Belief, row: int) -> Floats:
    """Return what a mixture loses against the best one, in every landscape drawn. [D]."""
    better = belief.draws if belief.landscape.higher_is_better else -belief.draws
    lost: Floats = better.max(axis=1) - better[:, row]
    return lost


def within(belief: Belief, row: int, tolerance: float) -> float:
    """Return the probability that a mixture loses at most a share of the range of trained scores."""
    return float(np.mean(regrets(belief, row) <= tolerance * np.ptp(belief.draws, axis=1)))


def chances(belief: Belief) -> Floats:
    """Return each mixture's probability of being the best of all. [C]."""
    better = belief.draws if belief.landscape.higher_is_better else -belief.draws
    count = belief.draws.shape[1]
    return np.bincount(better.argmax(axis=1), minlength=count) / len(belief.draws)


def choice(belief: Belief, row: int) -> Choice:
    """Judge one mixture, by its row, as the one that is taken."""
    lost, landscape = regrets(belief, row), belief.landscape
    return Choice(
        mixture=landscape.mixtures[row].label,
        row=row,
        trained=bool(np.isfinite(landscape.measured[row])),
        merged=float(landscape.merged[row]),
        mean=float(belief.mean[row]),
        sd=float(belief.sd[row]),
        regret=float(np.mean(lost)),
        limit=float(np.quantile(lost, LEVEL)),
        within={f"{tolerance:g}": within(belief, row, tolerance) for tolerance in TOLERANCES},
    )


@dataclass(frozen=True)
class NextTraining:
    """The training that is expected to shrink regret most.

    Attributes:
        mixture: Its label.
        row: Its row.
        regret: Expected regret of the pick now, in the metric's unit, a mean over targets.
        after: The same once the mixture is trained and the pick made anew.
    """

    mixture: str
    row: int
    regret: float
    after: float

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON."""
        return asdict(self)


def next_training(beliefs: Belief | Sequence[Belief], besides: Collection[int] = ()) -> NextTraining | None:
    """Choose the mixture whose training is expected to shrink regret most.

    The expected best score does not depend on what is trained next, so expected regret shrinks by what the
    expected score of the pick grows: the knowledge gradient (Frazier, Powell and Dayanik 2009). One more
    training moves all expectations along a line, which is integrated over the chance of its score; the
    belief is taken for normal with the draws' covariance.

    Args:
        beliefs: One target's belief, or those of several over the same mixtures and in one metric; they
            count alike, each in standard deviations of its merged scores.
        besides: Rows that are trained in any case.

    Returns:
        The training; None if every mixture is trained, or will be.

    Raises:
        InputError: If targets have different mixtures.
    """
    several = [beliefs] if isinstance(beliefs, Belief) else list(beliefs)
    mixtures = several[0].landscape.mixtures
    if any(belief.landscape.mixtures != mixtures for belief in several):
        raise InputError("the targets have different mixtures: no training is one for all of them")
    untrained = np.any([np.isnan(belief.landscape.measured) for belief in several], axis=0)
    waiting = np.setdiff1d(np.flatnonzero(untrained), np.array(list(besides), dtype=int))
    if not len(waiting):
        return None
    gains = np.array([expected_gains(belief)[waiting] for belief in several])
    units = np.array([belief.landscape.unit for belief in several])
    most = int(np.argmax(np.mean(gains / units[:, None], axis=0)))
    row = int(waiting[most])
    regret = float(np.mean([np.mean(regrets(belief, pick(belief))) for belief in several]))
    return NextTraining(mixtures[row].label, row, regret, max(regret - float(np.mean(gains[:, most])), 0.0))


def expected_gains(belief: Belief) -> Floats:
    """Return how much the pick's expected score grows by one more training of each mixture, ≥ 0. [C]."""
    sign = 1.0 if belief.landscape.higher_is_better else -1.0
    drawn = sign * (belief.draws - belief.draws.mean(axis=0))
    means = sign * belief.mean
    # Only what is best in some landscape, and the pick, can be the best after one more training.
    rivals = np.union1d(np.flatnonzero(chances(belief)), [pick(belief)])
    spread = np.sqrt(np.mean(drawn**2, axis=0) + np.mean(belief.noise**2))
    slopes = drawn.T @ drawn[:, rivals] / len(drawn) / np.where(spread > 0, spread, 1)[:, None]
    nodes, weights = hermegauss(_NODES)
    weights = weights / weights.sum()
    gains = np.zeros(len(means))
    for start in range(0, len(gains), step := max(1, _AT_ONCE // (len(rivals) * _NODES))):
        moved = means[rivals, None] + slopes[start : start + step, :, None] * nodes
        gains[start : start + step] = moved.max(axis=1) @ weights
    grown: Floats = np.maximum(gains - means.max(), 0.0)
    return grown
