"""*These mixtures*: what agreement would they show, trained with other seeds and tested on other examples?

The mixtures stay as they are; nothing is said about others. What varies is which examples the target's test
has, the same for merged and trained models, and the training seed of every mixture, whose model is the same
on all targets. The experts stay, as a run has one set of them.

Redrawing on top of scores that already have noise would make them noisier than any repetition is, and the
spread of the coefficient too small: it is divided by a larger variance. Scores are first drawn together, by
√(1 − noise variance / variance found), after which a redraw varies as much as what was found. The interval is
z ± t · SD(redrawn z), z = atanh r, with t on m − 1 degrees of freedom for m mixtures of two known seeds.

Where test examples are not asked about, or not known, seeds alone are redrawn; so they are where two seeds of
the truth are held against each other, on both sides then. The method says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import of_rescored
from analysis.fidelity.intervals import THESE, Interval
from analysis.fidelity.scores import Points, Sample, pooled_sample
from m2m.support.arrays import Floats

METHOD, SEEDS = "training seeds and test examples redrawn", "training seeds redrawn"
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
        method: What was redrawn.
    """

    merged: Floats
    trained: Floats
    freedom: int
    method: str

    def keep(self, rows: NDArray[np.bool_]) -> Repeats:
        """Keep some rows [n]."""
        return replace(self, merged=self.merged[:, rows], trained=self.trained[:, rows])


def redraw(points: Sequence[Points], seed: int, *, retested: bool = True) -> Repeats | str:
    """Redraw seeds and examples of all targets together.

    Args:
        points: The targets; rows of the result are theirs, one after the other.
        seed: Seed of the redraws.
        retested: Whether test examples are redrawn too.

    Returns:
        The repetitions, or why there cannot be any.
    """
    noise = _lacking(points, retested=retested) or _noise_of_seeds(points)
    if isinstance(noise, str):
        return noise
    sample, rng = pooled_sample(points), np.random.default_rng(seed)
    moved = _moved_by_seeds(noise, sample, rng)
    parts = []
    for number, target in enumerate(points):
        rows = sample.stratum == number
        merged, trained = _retested(target, len(moved), rng) if retested else np.zeros((2, 1, 1))
        sides = (np.broadcast_to(merged, moved[:, rows].shape), trained + moved[:, rows])
        parts.append((_around(target.merged, sides[0]), _around(target.trained, sides[1])))
    merged, trained = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    return Repeats(merged, trained, noise.shape[1] - 1, METHOD if retested else SEEDS)


def redraw_seeds(points: Sequence[Points], seed: int) -> Repeats | str:
    """Redraw two training seeds of the truth, to be held against each other.

    Args:
        points: The targets; rows of the result are theirs, one after the other.
        seed: Seed of the redraws.

    Returns:
        The repetitions, those of the first seed as `merged`; or why there cannot be any.
    """
    noise = _lacking(points, retested=False) or _noise_of_seeds(points)
    if isinstance(noise, str):
        return noise
    sample, rng = pooled_sample(points), np.random.default_rng(seed)
    first, second = (_moved_by_seeds(noise, sample, rng) for _ in range(2))
    parts = []
    for number, target in enumerate(points):
        rows = sample.stratum == number
        parts.append((_around(target.trained, first[:, rows]), _around(target.again, second[:, rows])))
    one, other = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    return Repeats(one, other, noise.shape[1] - 1, SEEDS)


def _lacking(points: Sequence[Points], *, retested: bool) -> str:
    """Return why there are no repetitions; empty if there are."""
    if any(not np.isfinite(target.again).any() for target in points):
        return "no second training seed"
    if retested and not all(_has_examples(target) for target in points):
        return "the scores of single test examples are not known"
    if not all(np.isfinite([target.merged, target.trained]).all() for target in points):
        return "a score is not finite"
    if any(set(target.labels) != set(points[0].labels) for target in points):
        return "not every mixture is on every target"
    return ""


def _noise_of_seeds(points: Sequence[Points]) -> Floats | str:
    """Return what one seed adds to the score of m mixtures that were trained with two; or why not. [T, m]."""
    sample = pooled_sample(points)
    apart = np.full((len(points), sample.mixtures), np.nan)
    apart[sample.stratum, sample.mixture] = np.concatenate([p.again - p.trained for p in points])
    known = np.flatnonzero(np.isfinite(apart).all(axis=0))
    if len(known) < _FEWEST:
        return f"{len(known)} mixtures were trained with a second seed on every target, {_FEWEST} are needed"
    # A difference of two seeds has twice the variance of one; its mean costs a degree of freedom.
    noise: Floats = apart[:, known] - apart[:, known].mean(axis=1, keepdims=True)
    return noise * float(np.sqrt(len(known) / (len(known) - 1) / 2))


def _moved_by_seeds(noise: Floats, sample: Sample, rng: np.random.Generator) -> Floats:
    """Draw what other seeds add to every row, the same seed's on all targets of a mixture. [R, n]."""
    shape = min(_REDRAWS, intervals.RESAMPLES), sample.mixtures
    whose, sign = rng.integers(0, noise.shape[1], shape), rng.choice([-1.0, 1.0], shape)
    moved: Floats = sign[:, sample.mixture] * noise[sample.stratum, whose[:, sample.mixture]]
    return moved


def _has_examples(points: Points) -> bool:
    return points.examples is not None and all(merged.shape[1] > 1 for merged, _ in points.examples)


def _retested(points: Points, count: int, rng: np.random.Generator) -> Floats:
    """Return what other test examples add to merged and trained scores. [2, R, n]."""
    assert points.examples is not None  # `_lacking` has looked
    added = np.zeros((2, count, points.n))
    for sides in points.examples:
        size = sides[0].shape[1]
        change = rng.multinomial(size, np.full(size, 1 / size), size=count) / size - 1 / size
        added += [change @ side.T for side in sides]
    return added


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
        return Interval(None, None, drawn.method, "in a repetition all scores are equal", THESE)
    # Ranks move in steps: a coefficient within half a step of ±1 is not told from ±1.
    n = sample.n
    steps = {"pearson": 2 * np.finfo(float).eps, "spearman": 12 / (n**3 - n), "kendall": 4 / (n**2 - n)}
    end = 1 - steps[coefficient] / 2
    middle, redrawn = (np.arctanh(np.clip(r, -end, end)) for r in (value, found))
    reach = float(np.std(redrawn)) * float(stats.t.ppf(0.975, drawn.freedom))
    low, high = np.tanh([middle - reach, middle + reach])
    return Interval(min(float(low), value), max(float(high), value), drawn.method, about=THESE)
