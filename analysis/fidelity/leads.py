"""How far merging is ahead of another surrogate: paired differences of correlations, and their intervals.

Both surrogates are correlated with the same trained scores, over mixtures of at least two datasets. Whatever
is left out or exchanged is so for both, so what they share (a lucky set of examples, a lucky seed) cancels.
Three questions, three intervals:

- *these mixtures*: other examples of the targets and another training seed of each mixture, the experts being
  what they are. Examples: jackknife of groups of examples, a target at a time, since targets have their own.
  Seeds: each mixture in turn gets its second seed's scores, on all targets at once. That moves the difference
  d by gᵢδᵢ to first order, δᵢ of variance 2σ² where one seed has σ², so Σ(Δᵢd)²/2 estimates its variance.
- *new targets*: jackknife of targets; they share the trainings, so the seeds' variance is added.
- *new datasets*: jackknife of datasets, each with all its mixtures.

From the covariance of both coefficients on Fisher's scale the interval of their difference is Zou's (2007,
Psychological Methods 12:399), which is as lopsided as theirs and never leaves [−2, 2].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.fidelity.coefficients import of_redraws
from analysis.fidelity.correlation import FEWEST
from analysis.fidelity.intervals import MANY, Interval, IntervalEstimate
from analysis.fidelity.surrogates import MERGED, SURROGATES, Contest
from m2m.support.arrays import Floats, Ints

#: The questions that intervals answer.
THESE, TARGETS, DATASETS = "these mixtures", "new targets", "new datasets"
#: Fewer datasets, or targets, than this say nothing about new ones.
FEWEST_DATASETS, FEWEST_TARGETS = 6, 3
#: A variance of the difference below this share of the variances is rounding.
_ROUNDING = 64 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Compared:
    """One surrogate beside merging, over mixtures of at least two datasets.

    Attributes:
        pearson: Its linear agreement with the truth; None if not defined.
        spearman: Its agreement of ranks.
        pearson_lead: Merging's Pearson correlation minus this one, with the intervals of this module.
        spearman_lead: Merging's Spearman correlation minus this one.
        n: Mixtures times targets.
        reason: Why a correlation is not defined; empty if both are.
    """

    pearson: float | None
    spearman: float | None
    pearson_lead: IntervalEstimate
    spearman_lead: IntervalEstimate
    n: int
    reason: str = ""


#: The coefficients that are compared.
COMPARED = ("pearson", "spearman")


def compare(contests: Sequence[Contest]) -> dict[str, Compared]:
    """Hold every surrogate that all targets have against merging, within targets.

    Args:
        contests: The targets; one or several.

    Returns:
        Surrogate, `merged` first, to what was found.
    """
    rows = _Rows.of(contests)
    names = [name for name in SURROGATES if name in rows.gains]
    if defect := rows.defect():
        nothing = IntervalEstimate.missing(rows.n, defect)
        return {name: Compared(None, None, nothing, nothing, rows.n, defect) for name in names}
    redrawn = {coefficient: _Redrawn.of(rows, coefficient) for coefficient in COMPARED}
    return {name: _compared(name, rows, redrawn) for name in names}


def _compared(name: str, rows: _Rows, redrawn: Mapping[str, _Redrawn]) -> Compared:
    values = [redrawn[coefficient].value(name) for coefficient in COMPARED]
    reason = "" if None not in values else f"all scores of one target are equal: {SURROGATES[name]}"
    leads = [_lead(name, rows, redrawn[coefficient]) for coefficient in COMPARED]
    return Compared(values[0], values[1], leads[0], leads[1], rows.n, reason)


@dataclass(frozen=True)
class _Rows:
    """Mixtures of at least two datasets on several targets; a row is one on one target."""

    contests: tuple[Contest, ...]
    gains: dict[str, Floats]
    trained: Floats
    again: Floats
    stratum: Ints
    mixture: Ints
    has: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, contests: Sequence[Contest]) -> _Rows:
        """Put targets below each other."""
        kept = [contest.mixed for contest in contests]
        labels = [
            np.array(contest.points.labels, dtype=object)[large]
            for contest, large in zip(contests, kept, strict=True)
        ]
        number = {label: i for i, label in enumerate(dict.fromkeys(np.concatenate(labels)))}
        shared = [n for n in SURROGATES if all(n in contest.gains for contest in contests)]
        datasets = dict.fromkeys(name for contest in contests for name in contest.members.datasets)
        return cls(
            contests=tuple(contests),
            gains={name: _stack([contest.gains[name] for contest in contests], kept) for name in shared},
            trained=_stack([contest.trained for contest in contests], kept),
            again=_stack([contest.again for contest in contests], kept),
            stratum=np.repeat(np.arange(len(contests)), [int(np.sum(large)) for large in kept]),
            mixture=np.array([number[label] for part in labels for label in part], dtype=np.int64),
            has={name: _stack([_holds(c, name) for c in contests], kept).astype(bool) for name in datasets},
        )

    @property
    def n(self) -> int:
        return len(self.trained)

    def defect(self) -> str:
        """Return why nothing can be compared; empty if it can."""
        broken = ~(np.isfinite(self.trained) & np.isfinite(self.gains[MERGED]))
        broken |= ~np.isfinite(self.gains["mean_of_members"])
        if np.any(broken):
            count = int(np.sum(broken))
            return f"{count} of {self.n} mixtures, or their experts, have a score that is not finite"
        strata = len(np.unique(self.stratum))
        if self.n - strata + 1 < FEWEST:
            within = "" if strata <= 1 else f" over {strata} targets"
            wanted = FEWEST + strata - 1 if strata else FEWEST
            return (
                f"{self.n} mixtures of two or more datasets{within} are too few: at least {wanted} are needed"
            )
        if all(np.ptp(self.trained[self.stratum == s]) == 0 for s in np.unique(self.stratum)):
            return "all trained scores are equal: a correlation is not defined"
        return ""


def _stack(parts: Sequence[Floats | NDArray[np.bool_]], kept: Sequence[NDArray[np.bool_]]) -> Floats:
    return np.concatenate([part[large] for part, large in zip(parts, kept, strict=True)]).astype(np.float64)


def _holds(contest: Contest, name: str) -> NDArray[np.bool_]:
    datasets = contest.members.datasets
    if name not in datasets:
        return np.zeros(contest.points.n, dtype=bool)
    holds: NDArray[np.bool_] = contest.members.has[:, datasets.index(name)]
    return holds


#: Surrogate to its correlation in each redraw [R].
_Found = dict[str, Floats]


@dataclass(frozen=True)
class _Redrawn:
    """One coefficient of every surrogate: as it is, and with something left out or exchanged."""

    whole: _Found
    examples: list[_Found] | None
    seeds: _Found | None
    targets: _Found | None
    datasets: _Found | None

    @classmethod
    def of(cls, rows: _Rows, coefficient: str) -> _Redrawn:
        everything = np.ones(rows.n, dtype=bool)
        return cls(
            whole=_correlate(rows, coefficient, everything),
            examples=_over_examples(rows, coefficient),
            seeds=_over_seeds(rows, coefficient),
            targets=_over_parts(
                rows, coefficient, [rows.stratum != s for s in range(len(rows.contests))], FEWEST_TARGETS
            ),
            datasets=_over_parts(rows, coefficient, [~holds for holds in rows.has.values()], FEWEST_DATASETS),
        )

    def value(self, name: str) -> float | None:
        found = float(self.whole[name][0])
        return None if np.isnan(found) else found


def _correlate(
    rows: _Rows,
    coefficient: str,
    keep: NDArray[np.bool_],
    gains: Mapping[str, Floats] | None = None,
    trained: Floats | None = None,
) -> _Found:
    """Correlate every surrogate with the truth; scores [R, n] may be given anew."""
    truth = np.atleast_2d(rows.trained if trained is None else trained)[:, keep]
    surrogates = gains or rows.gains
    # All surrogates in one call: most of the time is per call.
    stacked = np.stack([np.broadcast_to(scores[..., keep], truth.shape) for scores in surrogates.values()])
    count, redraws, n = stacked.shape
    truths = np.broadcast_to(truth, stacked.shape).reshape(count * redraws, n)
    found = of_redraws(coefficient, stacked.reshape(count * redraws, n), truths, rows.stratum[keep])
    return dict(zip(surrogates, found.reshape(count, redraws), strict=True))


def _over_parts(
    rows: _Rows, coefficient: str, parts: Sequence[NDArray[np.bool_]], fewest: int
) -> _Found | None:
    """Correlate parts of the rows; None if there are too few of them to tell."""
    if len(parts) < fewest:
        return None
    found = [_correlate(rows, coefficient, keep) for keep in parts]
    return {name: np.array([each[name][0] for each in found]) for name in rows.gains}


def _over_examples(rows: _Rows, coefficient: str) -> list[_Found] | None:
    """Correlate without one group of a target's examples, target after target; None if not all known."""
    found = []
    for stratum, contest in enumerate(rows.contests):
        redrawn = contest.without_examples()
        if redrawn is None:
            return None
        gains, trained = redrawn
        place, large = rows.stratum == stratum, contest.mixed
        changed = {name: _changed(rows.gains[name], place, gains[name][:, large]) for name in rows.gains}
        truth = _changed(rows.trained, place, trained[:, large])
        found.append(_correlate(rows, coefficient, np.ones(rows.n, dtype=bool), changed, truth))
    return found


def _changed(scores: Floats, place: NDArray[np.bool_], values: Floats) -> Floats:
    changed = np.tile(scores, (len(values), 1))
    changed[:, place] = values
    return changed


def _over_seeds(rows: _Rows, coefficient: str) -> _Found | None:
    """Correlate with one mixture at a time in its second seed, on all targets; None if there is none."""
    known = np.isfinite(rows.again)
    mixtures = np.unique(rows.mixture[known])
    if not len(mixtures) or len(np.unique(rows.mixture)) > MANY:
        return None
    swapped = (rows.mixture == mixtures[:, None]) & known
    truth = np.where(swapped, rows.again, rows.trained)
    return _correlate(rows, coefficient, np.ones(rows.n, dtype=bool), trained=truth)


def _lead(name: str, rows: _Rows, redrawn: _Redrawn) -> IntervalEstimate:
    """Return merging's coefficient minus this surrogate's, with its three intervals."""
    merged, other = redrawn.value(MERGED), redrawn.value(name)
    if name == MERGED:
        return IntervalEstimate.missing(rows.n, "merging itself")
    if merged is None or other is None:
        without = MERGED if merged is None else name
        return IntervalEstimate.missing(rows.n, f"all scores of one target are equal: {SURROGATES[without]}")
    found = (
        _these_mixtures(name, rows, redrawn),
        _new_targets(name, rows, redrawn),
        _new_datasets(name, redrawn),
    )
    first = next((interval for interval in found if interval.low is not None), found[0])
    return IntervalEstimate(
        merged - other, first.low, first.high, rows.n, first.method, first.reason, intervals=found
    )


#: Covariance of merging's and a surrogate's coefficient on Fisher's scale [2, 2], and its degrees of freedom.
_Part = tuple[Floats, int]


def _scaled(found: _Found, name: str) -> Floats:
    """Return merging's and a surrogate's coefficient on Fisher's scale; infinite at ±1. [2, R]."""
    with np.errstate(divide="ignore"):
        scaled: Floats = np.arctanh(np.stack([found[MERGED], found[name]]))
    return scaled


def _these_mixtures(name: str, rows: _Rows, redrawn: _Redrawn) -> Interval:
    parts = [_jackknife(_scaled(found, name)) for found in redrawn.examples or ()]
    seeds = _seeds(name, rows, redrawn)
    if not parts and seeds is None:
        return Interval(None, None, THESE, "neither single examples nor a second training seed are known")
    unknown = "" if parts else "other examples are not included: they are not known"
    unknown = unknown if seeds is not None else "other training seeds are not included: there is no second"
    return _interval(name, redrawn, parts + ([seeds] if seeds else []), THESE, unknown)


def _new_targets(name: str, rows: _Rows, redrawn: _Redrawn) -> Interval:
    if redrawn.targets is None:
        return Interval(None, None, TARGETS, f"cannot be told from fewer than {FEWEST_TARGETS} targets")
    variance, freedom = _jackknife(_scaled(redrawn.targets, name))
    seeds = _seeds(name, rows, redrawn)
    if seeds is None:
        unknown = "training seeds, which targets share, are not included"
        return _interval(name, redrawn, [(variance, freedom)], TARGETS, unknown)
    return _interval(name, redrawn, [(variance + seeds[0], freedom)], TARGETS)


def _new_datasets(name: str, redrawn: _Redrawn) -> Interval:
    if redrawn.datasets is None:
        return Interval(None, None, DATASETS, f"cannot be told from fewer than {FEWEST_DATASETS} datasets")
    return _interval(name, redrawn, [_jackknife(_scaled(redrawn.datasets, name))], DATASETS)


def _jackknife(values: Floats) -> _Part:
    """Return the jackknife's covariance from replicates [2, R]."""
    count = values.shape[1]
    with np.errstate(invalid="ignore"):  # the mean of −∞ and ∞
        centre = np.mean(values, axis=1, keepdims=True)
    return (count - 1) / count * _products(values, centre), count - 1


def _seeds(name: str, rows: _Rows, redrawn: _Redrawn) -> _Part | None:
    if redrawn.seeds is None:
        return None
    values = _scaled(redrawn.seeds, name)
    share = len(np.unique(rows.mixture)) / values.shape[1]  # those without a second seed vary like the others
    return share / 2 * _products(values, _scaled(redrawn.whole, name)), values.shape[1]


def _products(values: Floats, centre: Floats) -> Floats:
    """Return Σ (v − centre)(v − centre)ᵀ of replicates [2, R]; NaN if one is not finite. [2, 2]."""
    if not np.all(np.isfinite(values)) or not np.all(np.isfinite(centre)):
        return np.full((2, 2), np.nan)
    moved = values - centre
    products: Floats = moved @ moved.T
    return products


def _interval(
    name: str, redrawn: _Redrawn, parts: Sequence[_Part], question: str, doubt: str = ""
) -> Interval:
    """Make Zou's interval from independent parts; t quantiles with Welch and Satterthwaite's freedom."""
    whole = np.sum([part for part, _ in parts], axis=0)
    z = _scaled(redrawn.whole, name)[:, 0]
    if not np.all(np.isfinite(whole)) or not np.all(np.isfinite(z)):
        return Interval(None, None, question, "a correlation is ±1, or not defined in a redraw")
    of_difference = [(part[0, 0] + part[1, 1] - 2 * part[0, 1], count) for part, count in parts]
    variance = sum(value for value, _ in of_difference)
    errors = np.sqrt(np.diag(whole))
    if variance <= _ROUNDING * float(np.sum(errors**2)):
        return Interval(
            None, None, question, "no redraw changes the difference: too few to tell, not certainty"
        )
    freedom = variance**2 / sum(value**2 / count for value, count in of_difference)
    first, second = np.tanh(z)
    reach = float(stats.t.ppf(0.975, freedom)) * errors
    (first_down, second_down), (first_up, second_up) = np.tanh(z - reach), np.tanh(z + reach)
    shared = whole[0, 1] / (errors[0] * errors[1]) if np.all(errors > 0) else 0.0
    low = first - second - _joined(first - first_down, second_up - second, shared)
    high = first - second + _joined(first_up - first, second - second_down, shared)
    return Interval(float(low), float(high), question, doubt)


def _joined(one: float, other: float, shared: float) -> float:
    """Return how far a difference may be off, its two sides being off by `one` and `other`, correlated."""
    return math.sqrt(max(0.0, one**2 + other**2 - 2 * shared * one * other))
