"""Trust from few trainings, a target at a time and over all: what is found, and what of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.fidelity.intervals import IntervalEstimate
from analysis.results import Reasons
from analysis.trust.agreement import FEWEST, agreement
from analysis.trust.belief import EACH, KEPT, Belief, believe
from analysis.trust.choice import LEVEL, Choice, NextTraining, chances, choice, next_training, pick
from analysis.trust.choice import within as probability_within
from analysis.trust.combined import combined
from analysis.trust.landscape import Landscape, mixtures_of
from analysis.trust.process import LENGTHS
from analysis.trust.scheffe import scheffe
from m2m.errors import ConfigError, InputError
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.arrays import Floats

NAME = "trust"
#: Why a number may not be there.
REASONS: Reasons = {
    "trained": "the mixture was not trained",
    "scheffe": "not every pair of datasets is trained",
    "picked_by_scheffe": "not every pair of datasets is trained",
    "next": "every mixture is trained, or the targets have different mixtures",
}


@dataclass(frozen=True)
class TargetTrust:
    """What few trainings say about one target.

    Attributes:
        belief: The belief in every mixture's trained score.
        agreement: Coefficient to the correlation of merged and trained scores over all mixtures of two or
            more datasets, from those trained by chance.
        picked: The mixture of the best expected trained score, which may be an untrained one.
        merging: The mixture that merged scores alone would have picked.
        measured: The mixture of the best trained score so far.
        enough: Probability that the pick is within the tolerance of the best.
        best: Probability of each mixture to be the best. [C]
        scheffe: Trained scores by Scheffé's quadratic [C]; None unless every pair is trained.
        combined: The combined surrogate. [C]
        by_combined: The mixture that is best by it.
    """

    belief: Belief
    agreement: dict[str, IntervalEstimate]
    picked: Choice
    merging: Choice
    measured: Choice
    enough: float
    best: Floats
    scheffe: Floats | None
    combined: Floats
    by_combined: Choice

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for JSON."""
        landscape = self.belief.landscape
        predicted = None if self.scheffe is None else landscape.mixtures[landscape.best(self.scheffe)].label
        return {
            "metric": landscape.metric,
            "higher_is_better": landscape.higher_is_better,
            "mixtures": int(landscape.several.sum()),
            "trained": landscape.trained_several,
            **{name: estimate_to_json(found) for name, found in self.agreement.items()},
            "picked": self.picked.to_json(),
            "merging": self.merging.to_json(),
            "measured": self.measured.to_json(),
            "combined": self.by_combined.to_json(),
            "enough": self.enough,
            "picked_by_scheffe": predicted,
            "hyperparameters": _hyperparameters(self.belief),
        }


@dataclass(frozen=True)
class Trust:
    """What few trainings say.

    Attributes:
        by: Target name to what they say about it.
        next: What to train next, for all targets; None if there is nothing, or no one answer.
        tolerance: ε, a share of the range of trained scores.
        threshold: Probability of being within ε at which no further training is needed.
    """

    by: dict[str, TargetTrust]
    next: NextTraining | None
    tolerance: float
    threshold: float

    @property
    def stop(self) -> bool:
        """Whether every target's pick is within ε of its best with more than the threshold's probability."""
        return all(target.enough > self.threshold for target in self.by.values())


def trust(
    merged: ArrayLike,
    trained: ArrayLike,
    members: Sequence[Sequence[str] | Mixture],
    *,
    again: ArrayLike | None = None,
    purposes: Sequence[str] = (),
    higher_is_better: bool = True,
    target: str = "all",
    metric: str = "score",
    tolerance: float = 0.05,
    threshold: float = 0.9,
    seed: int = 0,
) -> Trust:
    """Say how far merging's choice can be trusted when few of its mixtures were trained, on one target.

    Args:
        merged: Score of each mixture's merged model. [C]
        trained: Score of each mixture's trained model, NaN where there is none. [C]
        members: A mixture a row: dataset names in equal parts, or a `Mixture`; all single datasets are among
            them. [C]
        again: Score of each mixture trained with another seed, NaN where there is none. [C]
        purposes: What each mixture was trained for, as from `design`; without it there is no correlation. [C]
        higher_is_better: Direction of the metric.
        target: Name of the target.
        metric: Name of the metric, with its unit.
        tolerance: ε of "within ε of the best", a share of the range of trained scores.
        threshold: Probability of that at which no further training is needed.
        seed: Seed of all draws.

    Returns:
        The pick with its regret, each mixture's chance of being best, the agreement, what to train next.

    Raises:
        InputError: If the scores are no landscape, or too few mixtures were trained.
    """  # noqa: DOC502 - raised by what is called
    seeds = [trained] if again is None else [trained, again]
    landscape = Landscape(
        mixtures_of(members),
        np.asarray(merged, dtype=np.float64),
        np.array(seeds, dtype=np.float64),
        target=target,
        metric=metric,
        higher_is_better=higher_is_better,
        purposes=tuple(purposes),
    )
    return study([landscape], tolerance=tolerance, threshold=threshold, seed=seed)


def study(
    landscapes: Sequence[Landscape], *, tolerance: float = 0.05, threshold: float = 0.9, seed: int = 0
) -> Trust:
    """Say how far merging's choice can be trusted on several targets, which teach each other.

    Args:
        landscapes: The scores of each target.
        tolerance: ε of "within ε of the best", a share of the range of trained scores.
        threshold: Probability of that at which no further training is needed.
        seed: Seed of all draws.

    Returns:
        The study.

    Raises:
        ConfigError: If tolerance or threshold is no number from 0 to 1.
        InputError: If a target has too few trained mixtures.
    """  # noqa: DOC502 - partly raised by what is called
    for name, value in {"tolerance": tolerance, "threshold": threshold}.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{argument(name)} must be a number from 0 to 1, got {value}")
    beliefs = believe(landscapes, seed)
    by = {belief.landscape.target: _of_target(belief, tolerance) for belief in beliefs}
    return Trust(by, _next(beliefs), tolerance, threshold)


def _of_target(belief: Belief, tolerance: float) -> TargetTrust:
    landscape = belief.landscape
    picked, scores = pick(belief), combined(landscape)
    return TargetTrust(
        belief=belief,
        agreement={name: agreement(landscape, name) for name in FEWEST},
        picked=choice(belief, picked),
        merging=choice(belief, landscape.best(landscape.merged)),
        measured=choice(belief, landscape.best(landscape.measured)),
        enough=probability_within(belief, picked, tolerance),
        best=chances(belief),
        scheffe=_scheffe(landscape),
        combined=scores,
        by_combined=choice(belief, landscape.best(scores)),
    )


def _scheffe(landscape: Landscape) -> Floats | None:
    try:
        return scheffe(landscape)
    except InputError:  # a pair is missing
        return None


def _next(beliefs: Sequence[Belief]) -> NextTraining | None:
    if any(belief.landscape.mixtures != beliefs[0].landscape.mixtures for belief in beliefs):
        return None
    return next_training(beliefs)


def estimate_to_json(found: IntervalEstimate) -> dict[str, Any]:
    """Lay a correlation and its interval out for JSON."""
    return {name: getattr(found, name) for name in ("value", "low", "high", "n", "method", "reason")}


def _status(landscape: Landscape) -> list[str]:
    """Say how each mixture's trained score is known. [C]."""
    purposes = landscape.purposes or [""] * len(landscape.mixtures)
    known = np.isfinite(landscape.measured)
    return [
        "expert" if not many else (purpose or "trained") if there else "not trained"
        for many, there, purpose in zip(landscape.several, known, purposes, strict=True)
    ]


def _hyperparameters(belief: Belief) -> dict[str, float]:
    drawn = np.array([[*hyper.sigmas, hyper.noise, LENGTHS[hyper.length]] for hyper in belief.hyper])
    names = ("level", "slope", "smooth", "pairs", "beyond_members", "noise", "length")
    return dict(zip(names, np.median(drawn, axis=0).tolist(), strict=True))


def to_json(study: Trust) -> dict[str, Any]:
    """Lay a study out as in `trust.json`, but for what it was made from."""
    return {
        "stop": study.stop,
        "tolerance": study.tolerance,
        "threshold": study.threshold,
        "limit_level": LEVEL,
        "next": None if study.next is None else study.next.to_json(),
        "by": {target: found.to_json() for target, found in study.by.items()},
        "draws": KEPT * EACH,
    }


def to_tables(study: Trust) -> dict[str, pd.DataFrame]:
    """Return a row a target and mixture: the belief in it, and its probability of being the best."""
    return {"": pd.concat([_rows(found) for found in study.by.values()], ignore_index=True)}


def _rows(found: TargetTrust) -> pd.DataFrame:
    landscape, belief = found.belief.landscape, found.belief
    low, high = np.quantile(belief.draws, [0.025, 0.975], axis=0)
    rows = np.arange(len(landscape.mixtures))
    return pd.DataFrame(
        {
            "target": landscape.target,
            "metric": landscape.metric,
            "higher_is_better": landscape.higher_is_better,
            "candidate": [mixture.label for mixture in landscape.mixtures],
            "status": _status(landscape),
            "merged": landscape.merged,
            "trained": landscape.measured,
            "mean": belief.mean,
            "sd": belief.sd,
            "low": low,
            "high": high,
            "best": found.best,
            "picked": rows == found.picked.row,
            "picked_by_merging": rows == found.merging.row,
            "scheffe": np.full(len(rows), np.nan) if found.scheffe is None else found.scheffe,
            "combined": found.combined,
        }
    )
