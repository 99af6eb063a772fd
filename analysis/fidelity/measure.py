"""Fidelity of one target, and of several together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.fidelity.ceiling import Ceiling, ceiling
from analysis.fidelity.correlation import Correlations, correlations
from analysis.fidelity.decision import Decision, decision
from analysis.fidelity.mixed import MixedEffects, mixed_effects
from analysis.fidelity.points import Points, pooled_sample
from analysis.fidelity.power import Power, power
from analysis.fidelity.repeated import RepeatedMeasures, from_correlation
from analysis.fidelity.sample import Sample
from m2m.errors import InputError
from m2m.support.arrays import Floats

_UNKNOWN_MEMBERS = "the datasets of each mixture are not known"
_POOLING = "within-target centred (repeated-measures correlation)"


@dataclass(frozen=True)
class Fidelity:
    """Agreement of merged and mixture-trained models on one target.

    Attributes:
        points: The scores it was computed from.
        correlations: Over all mixtures.
        without_singletons: Over the mixtures of at least two datasets.
        ceiling: Agreement of the truth with itself under a second seed.
        decision: Quality of the surrogate's choice.
    """

    points: Points
    correlations: Correlations
    without_singletons: Correlations
    ceiling: Ceiling
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for a JSON file.

        Returns:
            `pearson`, `spearman`, `kendall`, `without_singletons`, `ceiling`, and the decision's numbers.
        """
        return {
            "metric": self.points.metric,
            "higher_is_better": self.points.higher_is_better,
            "left_out": self.points.left_out,
            **_agreement_json(self),
            **self.decision.to_json(),
        }


@dataclass(frozen=True)
class Pooled:
    """Agreement over several targets, compared within each.

    Attributes:
        correlations: Over all mixtures.
        without_singletons: Over the mixtures of at least two datasets.
        ceiling: Agreement of the truth with itself under a second seed.
        uncentred: As if all rows were of one target; inflated where targets differ in difficulty.
        mean_pearson: Plain mean of the targets' Pearson correlations, None if one of them is not defined.
        repeated: The analysis of covariance behind the pooled Pearson correlation.
        incomplete: Mixtures that some target lacks; with any, scores cannot be exchanged between mixtures, so
            that there is no permutation p-value.
    """

    correlations: Correlations
    without_singletons: Correlations
    ceiling: Ceiling
    uncentred: Correlations
    mean_pearson: float | None
    repeated: RepeatedMeasures
    incomplete: int

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for a JSON file.

        Returns:
            As `Fidelity.to_json`, without a decision, with `uncentred`, `mean_pearson`,
            `repeated_measures` and `incomplete`.
        """
        return {
            "pooling": _POOLING,
            **_agreement_json(self),
            "uncentred": self.uncentred.to_json(),
            "mean_pearson": self.mean_pearson,
            "repeated_measures": self.repeated.to_json(),
            "incomplete": self.incomplete,
        }


@dataclass(frozen=True)
class Study:
    """Fidelity on one or several targets.

    Attributes:
        by: Target name to its fidelity.
        pooled: All targets together; None if there is only one.
        mixed: Regression over targets and seeds.
        power: Coefficient name to how many mixtures an interval of some width takes.
        seed: Seed of bootstraps and permutations.
    """

    by: dict[str, Fidelity]
    pooled: Pooled | None
    mixed: MixedEffects
    power: dict[str, Power]
    seed: int

    @property
    def overall(self) -> Fidelity | Pooled:
        """The pooled result, or the only target's."""
        return self.pooled if self.pooled is not None else next(iter(self.by.values()))

    def targets_json(self) -> dict[str, Any]:
        """Lay the targets out as in a run's `results.json`.

        Returns:
            Target name to its fidelity.
        """
        return {target: fidelity.to_json() for target, fidelity in self.by.items()}


def fidelity(
    merged: ArrayLike,
    trained: ArrayLike,
    *,
    members: Sequence[Sequence[str]] | None = None,
    again: ArrayLike | None = None,
    higher_is_better: bool = True,
    target: str = "all",
    metric: str = "score",
    seed: int = 0,
) -> Fidelity:
    """Measure how well merged models stand in for mixture-trained ones, on one target.

    Args:
        merged: Score of each mixture's merged model. [n]
        trained: Score of each mixture's trained model. [n]
        members: Dataset names of each mixture; without them singletons cannot be told apart. [n]
        again: Score of each mixture trained with another seed, NaN where there is none. [n]
        higher_is_better: Direction of the metric.
        target: Name of the target.
        metric: Name of the metric, with its unit.
        seed: Seed of bootstraps and permutations.

    Returns:
        The fidelity; what the scores do not define has no value but a reason.
    """
    first, second = _vector("merged", merged), _vector("trained", trained)
    labels = (
        [f"row {i + 1}" for i in range(len(first))]
        if members is None
        else ["+".join(names) for names in members]
    )
    points = Points(
        target=target,
        metric=metric,
        higher_is_better=higher_is_better,
        labels=tuple(labels),
        members=None if members is None else tuple(tuple(names) for names in members),
        merged=first,
        trained=second,
        again=np.full(len(first), np.nan) if again is None else _vector("again", again),
    )
    return of_points(points, seed)


def of_points(points: Points, seed: int = 0) -> Fidelity:
    """Measure one target.

    Args:
        points: Its scores.
        seed: Seed of bootstraps and permutations.

    Returns:
        The fidelity.
    """
    sample = points.sample()
    return Fidelity(points, *_agreement(sample, points.again, seed), decision(points, seed))


def study(targets: Iterable[Points], seed: int = 0) -> Study:
    """Measure every target, and all of them together.

    Args:
        targets: Points of each target.
        seed: Seed of bootstraps and permutations.

    Returns:
        The study.

    Raises:
        InputError: If there is no target.
    """
    by = {points.target: of_points(points, seed) for points in targets}
    if not by:
        raise InputError("no target has both merged and mixture-trained scores")
    found = list(by.values())
    pooled = _pooled(found, seed) if len(found) > 1 else None
    points = [target.points for target in found]
    plans = power((pooled or found[0]).correlations, len(pooled_sample(points).datasets))
    return Study(by, pooled, mixed_effects(points), plans, seed)


def _pooled(targets: Sequence[Fidelity], seed: int) -> Pooled:
    sample = pooled_sample([target.points for target in targets])
    again = np.concatenate([target.points.again for target in targets])
    one = replace(sample, stratum=np.zeros_like(sample.stratum))
    values = [target.correlations.pearson.value for target in targets]
    known = [value for value in values if value is not None]
    agreement = _agreement(sample, again, seed)
    return Pooled(
        *agreement,
        uncentred=correlations(one, seed),
        mean_pearson=float(np.mean(known)) if len(known) == len(values) else None,
        repeated=from_correlation(sample, agreement[0].pearson),
        incomplete=int(np.sum(np.bincount(sample.mixture) < len(targets))),
    )


def _agreement(sample: Sample, again: Floats, seed: int) -> tuple[Correlations, Correlations, Ceiling]:
    large = correlations(sample.without_singletons(), seed, _UNKNOWN_MEMBERS)
    return correlations(sample, seed), large, ceiling(sample, again, seed)


def _agreement_json(result: Fidelity | Pooled) -> dict[str, Any]:
    return {
        **result.correlations.to_json(),
        "without_singletons": result.without_singletons.to_json(),
        "ceiling": result.ceiling.to_json(),
    }


def _vector(name: str, values: ArrayLike) -> Floats:
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: wanted numbers, got {values!r:.80}") from None
    if vector.ndim != 1:
        raise InputError(f"{name}: wanted one number a mixture [n], got shape {list(vector.shape)}")
    return vector
