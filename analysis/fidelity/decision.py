"""What agreement is for: how good is the mixture that the surrogate picks, and how sure is that.

The choice is made again from three sources of chance, which answer three questions. *mixtures*: other
mixtures could have been the candidates (each redraw keeps about 63 % of them, so its regrets lean to the
small side). *examples*: other examples of the target could have been scored; merged and trained models are
scored on the same ones. *seeds*: each mixture could have been trained with the other seed. Intervals are
percentiles: a regret is never negative and often exactly zero, where no jackknife is defined.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fidelity import intervals
from analysis.fidelity.coefficients import pair_sums, strata
from analysis.fidelity.correlation import FEWEST, correlation
from analysis.fidelity.intervals import MANY, RESAMPLES, Interval, IntervalEstimate, Scale
from analysis.fidelity.scores import Points, Sample
from m2m.support.arrays import Floats, Ints

#: Shortlist lengths k of regret@k and recall@k.
SHORTLISTS = (1, 3, 5)
#: Tolerances ε of "the pick is within ε of the best", as shares of the range of trained scores.
TOLERANCES = (0.0, 0.05, 0.1)
#: Twice the share of rightly ordered pairs less one is a correlation (Somers' D), taken on Fisher's scale.
_PAIR_SCALE: Scale = (lambda share: np.arctanh(2 * share - 1), lambda z: (1 + np.tanh(z)) / 2)
#: Pairs that are compared at a time, so that memory stays bounded.
_PAIRS = 1_000_000


@dataclass(frozen=True)
class Decision:
    """Quality of the choice made by surrogate scores; scores are in the metric's unit.

    Attributes:
        picked: Mixture with the best merged model.
        oracle: Mixture with the best trained model.
        regret: Trained score lost by the pick against the oracle, ≥ 0.
        rank: Place of the pick by trained score, 1 = best.
        candidates: Mixtures n.
        regret_of_random: Expected regret of a mixture drawn at random.
        regret_at: k to the regret if the surrogate's k best were all trained and the best of them taken.
        recall_at: k to the share of the k best that are among the surrogate's k best.
        ndcg: Normalised discounted cumulative gain of the surrogate's order; a mixture's gain is its place
            within the range of trained scores, 0 … 1.
        pairwise_accuracy: Share of the pairs with different trained scores that the surrogate orders rightly
            (DataDecide, arXiv 2504.11393); a tie of the surrogate counts half. Its interval is about new
            datasets where mixtures share some, else about new mixtures; other examples and other seeds are in
            `uncertainty`.
        top_quartile_spearman: Spearman among the quarter of the mixtures (rounded up) trained best.
        uncertainty: Source of chance (`mixtures`, `examples`, `seeds`) to intervals of regret@k, recall@k and
            the pairwise accuracy, and how often the pick is within ε of the best.
        reason: Why there is no decision and all else is None; empty otherwise.
    """

    picked: str | None
    oracle: str | None
    regret: float | None
    rank: int | None
    candidates: int
    regret_of_random: float | None
    regret_at: dict[str, float]
    recall_at: dict[str, float]
    ndcg: float | None
    pairwise_accuracy: IntervalEstimate
    top_quartile_spearman: IntervalEstimate
    uncertainty: dict[str, RedrawnChoice] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON."""
        content = asdict(self)
        for name in ("pairwise_accuracy", "top_quartile_spearman"):
            content[name] = getattr(self, name).to_json()
        content["uncertainty"] = {source: found.to_json() for source, found in self.uncertainty.items()}
        return content


def decision(points: Points, seed: int) -> Decision:
    """Judge the surrogate's choice on one target by the truth."""
    broken = int(np.sum(~(np.isfinite(points.merged) & np.isfinite(points.trained))))
    if broken or points.n < 2:
        reason = (
            f"{broken} of {points.n} mixtures have a score that is not finite"
            if broken
            else "nothing to choose from"
        )
        nothing = IntervalEstimate.missing(points.n, reason)
        return Decision(None, None, None, None, points.n, None, {}, {}, None, nothing, nothing, {}, reason)
    chosen, best = points.order(points.merged), points.order(points.trained)
    gain = points.trained if points.higher_is_better else -points.trained
    ks = [k for k in SHORTLISTS if k <= points.n]
    return Decision(
        picked=points.labels[chosen[0]],
        oracle=points.labels[best[0]],
        regret=float(gain[best[0]] - gain[chosen[0]]),
        rank=1 + int(np.sum(gain > gain[chosen[0]])),
        candidates=points.n,
        regret_of_random=float(np.mean(gain[best[0]] - gain)),
        regret_at={str(k): float(gain[best[0]] - np.max(gain[chosen[:k]])) for k in ks},
        recall_at={str(k): len(set(chosen[:k]) & set(best[:k])) / k for k in ks},
        ndcg=ndcg(gain, chosen, best),
        pairwise_accuracy=_pairwise(points.sample()),
        top_quartile_spearman=_top_quartile(points.sample(), best, seed),
        uncertainty=uncertainty(points, seed),
    )


def ndcg(gain: Floats, chosen: list[int], best: list[int]) -> float | None:
    """Return the surrogate's discounted gain as a share of the true order's; None if all gains are equal.

    A mixture's gain, shifted and scaled to 0 … 1, counts less by the logarithm of its place (Järvelin and
    Kekäläinen 2002). `gain` is higher for better [n]; `chosen` and `best` are row numbers in both orders [n].
    """
    spread = float(np.ptp(gain))
    if spread == 0:
        return None
    share = (gain - np.min(gain)) / spread
    discount = 1 / np.log2(np.arange(2, len(gain) + 2))
    return float((share[chosen] @ discount) / (share[best] @ discount))


def pairwise_accuracy(sample: Sample, counts: Floats) -> Floats:
    """Return the share of pairs ordered rightly by the surrogate, for row counts [R, n]; or NaN. [R]."""
    agree, differ = np.zeros((2, len(counts)))
    for rows in strata(sample):
        less_wrong, _, differs = pair_sums(sample.merged[rows], sample.trained[rows], counts[:, rows])
        agree += (less_wrong + differs) / 2
        differ += differs
    return np.where(differ > 0, agree / np.where(differ > 0, differ, 1), np.nan)


def _pairwise(sample: Sample) -> IntervalEstimate:
    if np.ptp(sample.trained) == 0:
        return IntervalEstimate.missing(sample.n, "all trained scores are equal: there is no right order")
    value = float(pairwise_accuracy(sample, np.ones((1, sample.n)))[0])
    jackknife = intervals.dataset_jackknife if sample.shares_datasets else intervals.mixture_jackknife
    return IntervalEstimate.of(value, sample.n, (jackknife(pairwise_accuracy, sample, _PAIR_SCALE),))


def _top_quartile(sample: Sample, best: list[int], seed: int) -> IntervalEstimate:
    top = np.isin(np.arange(sample.n), best[: -(-sample.n // 4)])
    if np.sum(top) < FEWEST:
        return IntervalEstimate.missing(
            int(np.sum(top)), f"the best quarter of {sample.n} mixtures is too small for a correlation"
        )
    return correlation("spearman", sample.keep(top), seed)


@dataclass(frozen=True)
class RedrawnChoice:
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

    def to_json(self) -> dict[str, Any]:
        """Lay the attributes out for JSON; where nothing was redrawn, only the reason."""
        if not self.draws:
            return {"draws": 0, "reason": self.reason}
        accuracy = self.pairwise_accuracy
        return {
            "draws": self.draws,
            "regret_at": {k: interval.to_json() for k, interval in self.regret_at.items()},
            "recall_at": {k: interval.to_json() for k, interval in self.recall_at.items()},
            "pairwise_accuracy": accuracy.to_json() if accuracy else None,
            "within": self.within,
        }


@dataclass(frozen=True)
class _Draws:
    """R redraws of one target: higher-is-better scores, and which mixtures are there. each [R, n]."""

    merged: Floats
    trained: Floats
    present: NDArray[np.bool_]


def uncertainty(points: Points, seed: int) -> dict[str, RedrawnChoice]:
    """Make one target's choice again under each source of chance; one that cannot be redrawn says why."""
    makers = {"mixtures": _other_mixtures, "examples": _other_examples, "seeds": _other_seeds}
    if points.n > MANY:
        return dict.fromkeys(makers, _nothing(f"left out for more than {MANY} mixtures"))
    found = {name: make(points, np.random.default_rng(seed)) for name, make in makers.items()}
    return {
        name: _nothing(draws) if isinstance(draws, str) else _judged(draws, points, name)
        for name, draws in found.items()
    }


def _nothing(reason: str) -> RedrawnChoice:
    return RedrawnChoice(0, {}, {}, None, {}, reason)


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
    merged, trained = np.zeros((2, RESAMPLES, points.n))
    for of_merged, of_trained in points.examples:
        count = of_merged.shape[1]
        share = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
        merged += share @ of_merged.T
        trained += share @ of_trained.T
    everyone = np.ones((RESAMPLES, points.n), dtype=bool)
    return _Draws(_signed(points, merged), _signed(points, trained), everyone)


def _other_seeds(points: Points, rng: np.random.Generator) -> _Draws | str:
    known = np.isfinite(points.again)
    if not np.any(known):
        return "no second training seed"
    everyone = np.ones((RESAMPLES, points.n), dtype=bool)
    other = (rng.random(everyone.shape) < 0.5) & known
    trained = np.where(other, points.again, points.trained)
    merged = np.broadcast_to(_signed(points, points.merged), everyone.shape)
    return _Draws(merged, _signed(points, trained), everyone)


def _judged(draws: _Draws, points: Points, source: str) -> RedrawnChoice:
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
    return RedrawnChoice(
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
