"""Fidelity of one target and of several together, and what of it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.fidelity.beside import Beside, Similarities, beside, beside_table, regrets_table
from analysis.fidelity.coefficients import COEFFICIENTS
from analysis.fidelity.correlation import Ceiling, Correlations, ceiling, correlations
from analysis.fidelity.decision import Decision, decision
from analysis.fidelity.regression import MixedEffects, RepeatedMeasures, from_correlation, mixed_effects
from analysis.fidelity.repeats import redraw, redraw_seeds
from analysis.fidelity.run_utility import RunUtility
from analysis.fidelity.scores import Points, pooled_sample
from analysis.results import Reasons, versions, write_results
from m2m.errors import InputError
from m2m.support.arrays import Floats

_ONE_MODEL = "a merged single dataset is the trained one, so that no seed lies between them"
_POOLING = "within-target centred (repeated-measures correlation)"
NAME = "fidelity"
_GIVEN = "the score that was given is no finite number"
#: Why a number may not be there.
REASONS: Reasons = {
    "merged": _GIVEN,
    "trained": _GIVEN,
    "trained_again": "the mixture was not trained with a second seed, or its score is no finite number",
    "singletons": "which mixtures are single datasets is not known: all count as mixtures of several",
    "p": "no permutation test: too many mixtures, not all on every target, or no two of the same size",
    "slope_sd": "slopes of one target do not vary",
    "off_line_sd": "without seeds that differ it is part of residual_sd",
    "residual_sd": "nothing was fitted",
    "mean_pearson": "a target has no correlation",
    "ndcg": "all trained scores are equal",
    "attainable": "the two training seeds do not agree, or there is only one",
    "f": "the line fits exactly",
    "unequal_slopes_p": "a target has too few mixtures, or too equal ones, for a slope of its own",
    "pairwise_accuracy": "its interval over mixtures stands beside its value",
}


@dataclass(frozen=True)
class Fidelity:
    """Agreement of merged and mixture-trained models on one target.

    Attributes:
        points: The scores it was computed from.
        mixtures: Over the mixtures of at least two datasets: the answer.
        with_singletons: Over all, single datasets too, whose merged model is the trained one: flattering.
        ceiling: Agreement of the truth with itself under a second seed, over the mixtures of at least two.
        decision: Quality of the surrogate's choice.
    """

    points: Points
    mixtures: Correlations
    with_singletons: Correlations
    ceiling: Ceiling
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for JSON: both sets of correlations, the ceiling, and the decision's numbers."""
        return {
            "metric": self.points.metric,
            "higher_is_better": self.points.higher_is_better,
            "left_out": self.points.left_out,
            "singletons": self.points.singletons,
            **_agreement_json(self),
            **self.decision.to_json(),
        }


@dataclass(frozen=True)
class Pooled:
    """Agreement over several targets, compared within each.

    Attributes:
        mixtures: Over the mixtures of at least two datasets: the answer. So are all of the below.
        with_singletons: Over all, single datasets too.
        ceiling: Agreement of the truth with itself under a second seed.
        uncentred: As if all rows were of one target; inflated where targets differ in difficulty.
        mean_pearson: Plain mean of the targets' Pearson correlations, None if one of them is not defined.
        repeated: The analysis of covariance behind the pooled Pearson correlation.
        incomplete: Mixtures that some target lacks; with any, scores cannot be exchanged between mixtures, so
            that there is no permutation p-value.
    """

    mixtures: Correlations
    with_singletons: Correlations
    ceiling: Ceiling
    uncentred: Correlations
    mean_pearson: float | None
    repeated: RepeatedMeasures
    incomplete: int

    def to_json(self) -> dict[str, Any]:
        """Lay the result out for JSON: as a target's, with the regression and without a decision."""
        return {
            "pooling": _POOLING,
            **_agreement_json(self),
            "uncentred": self.uncentred.to_json(),
            "mean_pearson": self.mean_pearson,
            "repeated_measures": self.repeated.to_json(),
            "incomplete": self.incomplete,
        }


@dataclass(frozen=True)
class FidelityStudy:
    """Fidelity on one or several targets.

    Attributes:
        by: Target name to its fidelity.
        chosen_for: Fidelity on the utility that a run chose for, by its name; empty where it is a target.
        pooled: All targets together; None if there is only one.
        mixed: Regression over targets and seeds, of the mixtures of at least two datasets.
        beside: What the mixtures' own experts say without merging.
        seed: Seed of bootstraps and permutations.
    """

    by: dict[str, Fidelity]
    pooled: Pooled | None
    mixed: MixedEffects
    beside: Beside
    seed: int
    chosen_for: dict[str, Fidelity] = field(default_factory=dict)

    @property
    def everything(self) -> dict[str, Fidelity]:
        """Every target, and before them the utility that the run chose for, if it is not one of them."""
        return self.chosen_for | self.by

    @property
    def overall(self) -> Fidelity | Pooled:
        """The pooled result, or the only target's."""
        return self.pooled if self.pooled is not None else next(iter(self.by.values()))

    def targets_json(self) -> dict[str, Any]:
        """Lay the targets out as in a run's `results.json`, by name, a utility of several among them."""
        return {target: fidelity.to_json() for target, fidelity in self.everything.items()}


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
    return Fidelity(points, *_agreement([points], seed), decision(points, seed))


def study(
    targets: Iterable[Points],
    seed: int = 0,
    *,
    similarities: Similarities | None = None,
    chosen_for: RunUtility | None = None,
) -> FidelityStudy:
    """Measure every target, and all of them together.

    Args:
        targets: Points of each target.
        seed: Seed of bootstraps and permutations.
        similarities: How similar each dataset is to each target, by target, then dataset; None: not known.
        chosen_for: The utility that a run chose for, where several targets have weights. It is measured
            too, but is in nothing pooled, since its targets are.

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
    points = [target.points.without_singletons() for target in found]
    all_points = [target.points for target in found]
    without_merging = beside(all_points, similarities=similarities, chosen_for=chosen_for, seed=seed)
    utility = {} if chosen_for is None else {chosen_for.name: of_points(chosen_for.points(all_points), seed)}
    return FidelityStudy(by, pooled, mixed_effects(points), without_merging, seed, utility)


def _pooled(targets: Sequence[Fidelity], seed: int) -> Pooled:
    points = [target.points for target in targets]
    sample = pooled_sample([target.without_singletons() for target in points])
    one = replace(sample, stratum=np.zeros_like(sample.stratum))
    values = [target.mixtures.pearson.value for target in targets]
    known = [value for value in values if value is not None]
    agreement = _agreement(points, seed)
    return Pooled(
        *agreement,
        uncentred=correlations(one, seed, "levels of targets are not redrawn"),
        mean_pearson=float(np.mean(known)) if len(known) == len(values) else None,
        repeated=from_correlation(sample, agreement[0].pearson),
        incomplete=int(np.sum(np.bincount(sample.mixture) < len(targets))),
    )


def _agreement(points: Sequence[Points], seed: int) -> tuple[Correlations, Correlations, Ceiling]:
    """Return correlations without and with singletons, and the ceiling of the former."""
    large = [target.without_singletons() for target in points]
    sample = pooled_sample(large)
    again = np.concatenate([target.again for target in large])
    without = both = correlations(sample, seed, redraw(large, seed))
    if any(target.singletons for target in points):
        both = correlations(pooled_sample(points), seed, _ONE_MODEL)
    return without, both, ceiling(sample, again, seed, redraw_seeds(large, seed))


def _agreement_json(result: Fidelity | Pooled) -> dict[str, Any]:
    return {
        "mixtures": result.mixtures.to_json(),
        "with_singletons": result.with_singletons.to_json(),
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


def to_json(study: FidelityStudy, source: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a study out as in `fidelity.json`; `source` says what it was made from: files, columns, hashes."""
    return {
        **study.overall.to_json(),
        "mixed_effects": study.mixed.to_json(),
        "beside": study.beside.to_json(),
        "by": study.targets_json(),
        "source": dict(source),
        "seed": study.seed,
        "versions": versions(),
    }


def write(study: FidelityStudy, folder: Path, source: Mapping[str, Any]) -> None:
    """Write `fidelity.json` and five CSV tables, each in one step."""
    tables = {
        "": summary_table(study),
        "choices": choices_table(study),
        "points": points_table(study),
        "beside": beside_table(study.beside),
        "regrets": regrets_table(study.beside),
    }
    write_results(folder, NAME, to_json(study, source), tables, REASONS)


def points_table(study: FidelityStudy) -> pd.DataFrame:
    """Return what the figures draw: a row a target and mixture."""
    return pd.concat([_points(target.points) for target in study.everything.values()], ignore_index=True)


def _points(points: Points) -> pd.DataFrame:
    rows = np.arange(points.n)
    finite = bool(np.all(np.isfinite([points.merged, points.trained]))) and points.n > 0
    return pd.DataFrame(
        {
            "target": points.target,
            "metric": points.metric,
            "higher_is_better": points.higher_is_better,
            "mixture": points.labels,
            "merged": points.merged,
            "trained": points.trained,
            "trained_again": points.again,
            "singleton": [len(names) == 1 for names in points.members or [()] * points.n],
            "pick": rows == points.pick if finite else False,
            "oracle": rows == points.oracle if finite else False,
        }
    )


def summary_table(study: FidelityStudy) -> pd.DataFrame:
    """Return every correlation as a row: a target, without or with singletons, a coefficient."""
    return pd.DataFrame(list(_summary_rows(study)))


def choices_table(study: FidelityStudy) -> pd.DataFrame:
    """Return how sure the numbers about choices are: a row a source of chance, quantity and k or ε."""
    columns = ["target", "source", "quantity", "at", "value", "low", "high", "reason"]
    return pd.DataFrame(list(_choices_rows(study)), columns=columns)


def _choices_rows(study: FidelityStudy) -> Iterator[tuple[Any, ...]]:
    for target, fidelity in study.everything.items():
        chosen = fidelity.decision
        for source, found in chosen.uncertainty.items():
            for quantity in ("regret_at", "recall_at"):
                for k, interval in getattr(found, quantity).items():
                    value = getattr(chosen, quantity)[k]
                    ends = interval.low, interval.high, interval.reason
                    yield target, source, quantity, k, value, *ends
            for tolerance, share in found.within.items():
                yield target, source, "within", tolerance, share, None, None, "a chance has no interval"


def _summary_rows(study: FidelityStudy) -> Iterator[dict[str, Any]]:
    results: dict[str, Fidelity | Pooled] = dict(study.everything)
    if study.pooled is not None:
        results["(all targets)"] = study.pooled
    for target, result in results.items():
        parts = {"without singletons": result.mixtures, "with singletons": result.with_singletons}
        for mixtures, part in parts.items():
            for coefficient, row in _coefficients(part).items():
                yield {"target": target, "mixtures": mixtures, "coefficient": coefficient, **row}


def _coefficients(part: Correlations) -> dict[str, dict[str, Any]]:
    columns = ("value", "low", "high", "about", "method", "n", "p", "reason")
    estimates = {name: getattr(part, name) for name in COEFFICIENTS}
    return {name: {column: getattr(e, column) for column in columns} for name, e in estimates.items()}
