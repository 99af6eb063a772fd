"""How sure the numbers about a choice are: the choice made again on redrawn mixtures, examples and seeds.

Three sources, three questions. *mixtures*: other mixtures could have been the candidates (each redraw keeps
about 63 % of them, so its regrets lean to the small side). *examples*: other examples of the target could
have been scored; merged and trained models are scored on the same ones.
*seeds*: each mixture could have been trained with the other seed. Intervals are percentiles: a regret is
never negative and often exactly zero, where BCa's corrections are not defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fidelity.estimate import Interval
from analysis.fidelity.intervals import MANY, RESAMPLES
from analysis.fidelity.points import Points
from m2m.support.arrays import Floats, Ints

#: Shortlist lengths k of regret@k and recall@k.
SHORTLISTS = (1, 3, 5)
#: Tolerances ε of "the pick is within ε of the best", as shares of the range of trained scores.
TOLERANCES = (0.0, 0.05, 0.1)
#: Pairs that are compared at a time, so that memory stays bounded.
_PAIRS = 1_000_000


@dataclass(frozen=True)
class Uncertainty:
    """Numbers about a choice under one source of chance.

    Attributes:
        draws: Redraws; 0 if there is nothing to redraw.
        regret_at: k to the 95 % interval of regret@k.
        recall_at: k to the 95 % interval of recall@k.
        pairwise_accuracy: 95 % interval of the share of pairs ordered rightly; None for `mixtures`, whose
            interval stands with the estimate itself.
        within: ε, as a share of the range of trained scores, to the share of redraws whose pick is at most ε
            worse than the best.
        reason: Why there is nothing; empty otherwise.
    """

    draws: int
    regret_at: dict[str, Interval]
    recall_at: dict[str, Interval]
    pairwise_accuracy: Interval | None
    within: dict[str, float]
    reason: str = ""


@dataclass(frozen=True)
class _Draws:
    """R redraws of one target: higher-is-better scores, and which mixtures are there. each [R, n]."""

    merged: Floats
    trained: Floats
    present: NDArray[np.bool_]


def uncertainty(points: Points, seed: int) -> dict[str, Uncertainty]:
    """Make one target's choice again under each source of chance.

    Args:
        points: The target's scores, finite, at least two.
        seed: Seed of the redraws.

    Returns:
        `mixtures`, `examples` and `seeds`; a source that cannot be redrawn says why.
    """
    makers = {"mixtures": _other_mixtures, "examples": _other_examples, "seeds": _other_seeds}
    if points.n > MANY:
        return dict.fromkeys(makers, _nothing(f"left out for more than {MANY} mixtures"))
    found = {name: make(points, np.random.default_rng(seed)) for name, make in makers.items()}
    return {
        name: _nothing(draws) if isinstance(draws, str) else _judged(draws, points, name)
        for name, draws in found.items()
    }


def _nothing(reason: str) -> Uncertainty:
    return Uncertainty(0, {}, {}, None, {}, reason)


def _signed(points: Points, scores: Floats) -> Floats:
    return scores if points.higher_is_better else -scores


def _other_mixtures(points: Points, rng: np.random.Generator) -> _Draws:
    present = np.zeros((RESAMPLES, points.n), dtype=bool)
    np.put_along_axis(present, rng.integers(0, points.n, size=present.shape), True, axis=1)
    shape = present.shape
    merged, trained = (_signed(points, scores) for scores in (points.merged, points.trained))
    return _Draws(np.broadcast_to(merged, shape), np.broadcast_to(trained, shape), present)


def _other_examples(points: Points, rng: np.random.Generator) -> _Draws | str:
    if points.examples is None:
        return "the scores of single examples are not known"
    merged, trained = points.examples
    count = merged.shape[1]
    share = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    everyone = np.ones((RESAMPLES, points.n), dtype=bool)
    return _Draws(_signed(points, share @ merged.T), _signed(points, share @ trained.T), everyone)


def _other_seeds(points: Points, rng: np.random.Generator) -> _Draws | str:
    known = np.isfinite(points.again)
    if not np.any(known):
        return "no second training seed"
    everyone = np.ones((RESAMPLES, points.n), dtype=bool)
    other = (rng.random(everyone.shape) < 0.5) & known
    trained = np.where(other, points.again, points.trained)
    merged = np.broadcast_to(_signed(points, points.merged), everyone.shape)
    return _Draws(merged, _signed(points, trained), everyone)


def _judged(draws: _Draws, points: Points, source: str) -> Uncertainty:
    sizes = points.sizes
    chosen, best = (_orders(scores, draws.present, sizes) for scores in (draws.merged, draws.trained))
    gain = np.where(draws.present, draws.trained, -np.inf)
    top = np.max(gain, axis=1)
    ks = [k for k in SHORTLISTS if k <= points.n]
    regrets = {k: top - np.max(np.take_along_axis(gain, chosen[:, :k], axis=1), axis=1) for k in ks}
    recalls = {
        k: np.sum(chosen[:, :k, None] == best[:, None, :k], axis=(1, 2)) / k for k in ks
    }  # mixtures that are not there come last in both orders, the same ones
    spread = float(np.ptp(points.trained))
    accuracy = None if source == "mixtures" else _percentiles(_pair_shares(draws), source)
    return Uncertainty(
        draws=RESAMPLES,
        regret_at={str(k): _percentiles(values, source) for k, values in regrets.items()},
        recall_at={str(k): _percentiles(values, source) for k, values in recalls.items()},
        pairwise_accuracy=accuracy,
        within={f"{share:g}": float(np.mean(regrets[1] <= share * spread)) for share in TOLERANCES},
    )


def _orders(scores: Floats, present: NDArray[np.bool_], sizes: Ints) -> Ints:
    """Return `Points.order` of every redraw; mixtures that are not there come last. [R, n]."""
    keys = np.where(present, -scores, np.inf)
    rows = np.broadcast_to(np.arange(len(sizes)), keys.shape)
    return np.lexsort((rows, np.broadcast_to(sizes, keys.shape), keys), axis=-1)


def _pair_shares(draws: _Draws) -> Floats:
    """Return the share of pairs ordered rightly in every redraw; a tie of the surrogate counts half. [R]."""
    count, n = draws.merged.shape
    shares, step = np.full(count, np.nan), max(1, _PAIRS // n**2)
    for start in range(0, count, step):
        part = slice(start, start + step)
        merged, trained = (
            np.sign(s[part, :, None] - s[part, None, :]) for s in (draws.merged, draws.trained)
        )
        pairs = np.sum(trained**2, axis=(1, 2))
        right = np.sum((merged * trained + 1) / 2 * trained**2, axis=(1, 2))
        np.divide(right, pairs, out=shares[part], where=pairs > 0)
    return shares


def _percentiles(values: Floats, source: str) -> Interval:
    method = f"percentiles over redrawn {source}"
    undefined = int(np.sum(np.isnan(values)))
    if undefined:
        return Interval(None, None, method, f"not defined in {undefined} of {len(values)} redraws")
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high), method)


def to_json(found: dict[str, Uncertainty]) -> dict[str, Any]:
    """Lay the sources out for a JSON file.

    Args:
        found: Source to what it gives.

    Returns:
        The attributes; an interval is `low`, `high`, `reason`.
    """
    return {source: _plain(result) for source, result in found.items()}


def _plain(found: Uncertainty) -> dict[str, Any]:
    if not found.draws:
        return {"draws": 0, "reason": found.reason}
    return {
        "draws": found.draws,
        "regret_at": {k: _ends(interval) for k, interval in found.regret_at.items()},
        "recall_at": {k: _ends(interval) for k, interval in found.recall_at.items()},
        "pairwise_accuracy": _ends(found.pairwise_accuracy) if found.pairwise_accuracy else None,
        "within": found.within,
    }


def _ends(interval: Interval) -> dict[str, Any]:
    return {"low": interval.low, "high": interval.high, "reason": interval.reason}
