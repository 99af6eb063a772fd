"""*These mixtures*: what agreement would they show, trained with other seeds and tested on other examples?

The mixtures stay as they are; nothing is said about others. What varies is which examples the target's test
has, the same for merged and trained models, and the training seed of every mixture, whose model is the same
on all targets. The experts stay, as a run has one set of them.

Redrawing on top of scores that already have noise would make them noisier than any repetition is, and the
spread of the coefficient too small: it is divided by a larger variance. Scores are first drawn together, by
√(1 − noise variance / variance found), after which a redraw varies as much as what was found. The interval is
z ± t · SD(redrawn z), z = atanh r, with t on m − 1 degrees of freedom for m mixtures of two known seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import of_rescored
from analysis.fidelity.intervals import THESE, Interval
from analysis.fidelity.scores import Points, Sample, pooled_sample
from m2m.support.arrays import Floats

METHOD = "training seeds and test examples redrawn"
#: Fewest mixtures with two seeds: the seeds' noise is estimated from their differences.
_FEWEST = 4
#: Redraws at most: a standard deviation from 499 is right to 3 %.
_REDRAWS = 499


@dataclass(frozen=True)
class Repeats:
    """R repetitions of a sample's scores, levels left out.

    Attributes:
        merged: Merged scores. [R, n]
        trained: Trained scores. [R, n]
        freedom: Degrees of freedom of the seeds' noise.
    """

    merged: Floats
    trained: Floats
    freedom: int


def redraw(points: Sequence[Points], seed: int) -> Repeats | str:
    """Redraw seeds and examples of all targets together.

    Args:
        points: The targets; rows of the result are theirs, one after the other.
        seed: Seed of the redraws.

    Returns:
        The repetitions, or why there cannot be any.
    """
    if reason := _lacking(points):
        return reason
    sample, rng = pooled_sample(points), np.random.default_rng(seed)
    apart = np.full((len(points), sample.mixtures), np.nan)
    apart[sample.stratum, sample.mixture] = np.concatenate([p.again - p.trained for p in points])
    known = np.flatnonzero(np.isfinite(apart).all(axis=0))
    if len(known) < _FEWEST:
        return f"{len(known)} mixtures were trained with a second seed on every target, {_FEWEST} are needed"
    # A difference of two seeds has twice the variance of one; its mean costs a degree of freedom.
    noise = apart[:, known] - apart[:, known].mean(axis=1, keepdims=True)
    noise *= np.sqrt(len(known) / (len(known) - 1) / 2)
    shape = min(_REDRAWS, intervals.RESAMPLES), sample.mixtures
    whose, sign = rng.integers(0, len(known), shape), rng.choice([-1.0, 1.0], shape)
    parts = []
    for number, target in enumerate(points):
        mixtures = sample.mixture[sample.stratum == number]
        merged, trained = _retested(target, shape[0], rng)
        trained += (sign * noise[number][whose])[:, mixtures]
        parts.append((_around(target.merged, merged), _around(target.trained, trained)))
    merged, trained = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    return Repeats(merged, trained, len(known) - 1)


def _lacking(points: Sequence[Points]) -> str:
    """Return why there are no repetitions; empty if there are."""
    if any(not np.isfinite(target.again).any() for target in points):
        return "no second training seed"
    if any(target.examples is None or target.examples[0].shape[1] < 2 for target in points):
        return "the scores of single test examples are not known"
    if not all(np.isfinite([target.merged, target.trained]).all() for target in points):
        return "a score is not finite"
    if any(set(target.labels) != set(points[0].labels) for target in points):
        return "not every mixture is on every target"
    return ""


def _retested(points: Points, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return what other test examples add to merged and trained scores. each [R, n]."""
    assert points.examples is not None  # `_lacking` has looked
    merged, trained = points.examples
    size = merged.shape[1]
    change = rng.multinomial(size, np.full(size, 1 / size), size=count) / size - 1 / size
    return change @ merged.T, change @ trained.T


def _around(scores: Floats, noise: Floats) -> Floats:
    """Return scores [n] with noise [R, n] that vary as much as the scores do, less their level. [R, n]."""
    spread = scores - scores.mean()
    found = float(spread @ spread) / max(1, len(spread) - 1)
    share = float(np.mean(np.var(noise, axis=1, ddof=1))) / found if found > 0 and len(spread) > 1 else 1.0
    around: Floats = np.sqrt(max(0.0, 1 - share)) * spread + noise
    return around


def interval(coefficient: str, value: float, sample: Sample, drawn: Repeats | str) -> Interval:
    """Make the interval of a coefficient over these mixtures.

    Args:
        coefficient: `pearson`, `spearman` or `kendall`.
        value: What was found.
        sample: Its rows.
        drawn: Repetitions of these rows, or why there are none.

    Returns:
        The interval; without ends, with the reason, where it is not defined.
    """
    if isinstance(drawn, str):
        return Interval(None, None, METHOD, drawn, THESE)
    found = of_rescored(coefficient, sample, drawn.merged, drawn.trained)
    if not np.isfinite(found).all():
        return Interval(None, None, METHOD, "in a repetition all scores are equal", THESE)
    # Ranks move in steps: a coefficient within half a step of ±1 is not told from ±1.
    n = sample.n
    steps = {"pearson": 2 * np.finfo(float).eps, "spearman": 12 / (n**3 - n), "kendall": 4 / (n**2 - n)}
    end = 1 - steps[coefficient] / 2
    middle, redrawn = (np.arctanh(np.clip(r, -end, end)) for r in (value, found))
    reach = float(np.std(redrawn)) * float(stats.t.ppf(0.975, drawn.freedom))
    low, high = np.tanh([middle - reach, middle + reach])
    return Interval(min(float(low), value), max(float(high), value), METHOD, about=THESE)
