"""What agreement is for: how good is the mixture that the surrogate picks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from analysis.fidelity import intervals
from analysis.fidelity.correlation import FEWEST, correlation
from analysis.fidelity.estimate import Estimate
from analysis.fidelity.pairs import pair_sums
from analysis.fidelity.points import Points
from analysis.fidelity.sample import Sample
from analysis.fidelity.statistics import strata
from analysis.fidelity.uncertainty import SHORTLISTS, Uncertainty, to_json, uncertainty
from m2m.support.arrays import Floats


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
            (DataDecide, arXiv 2504.11393); a tie of the surrogate counts half. Interval: mixture bootstrap.
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
    pairwise_accuracy: Estimate
    top_quartile_spearman: Estimate
    uncertainty: dict[str, Uncertainty] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay the decision out for a JSON file.

        Returns:
            The attributes.
        """
        content = asdict(self)
        for name in ("pairwise_accuracy", "top_quartile_spearman"):
            content[name] = getattr(self, name).to_json()
        return content | {"uncertainty": to_json(self.uncertainty)}


def decision(points: Points, seed: int) -> Decision:
    """Judge the surrogate's choice by the truth.

    Args:
        points: One target's scores.
        seed: Seed of bootstrap and permutations.

    Returns:
        The decision.
    """
    broken = int(np.sum(~(np.isfinite(points.merged) & np.isfinite(points.trained))))
    if broken or points.n < 2:
        reason = (
            f"{broken} of {points.n} mixtures have a score that is not finite"
            if broken
            else "nothing to choose from"
        )
        nothing = Estimate.missing(points.n, reason)
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
        pairwise_accuracy=_pairwise(points.sample(), seed),
        top_quartile_spearman=_top_quartile(points.sample(), best, seed),
        uncertainty=uncertainty(points, seed),
    )


def ndcg(gain: Floats, chosen: list[int], best: list[int]) -> float | None:
    """Discount each mixture's gain by the logarithm of its place (Järvelin and Kekäläinen 2002).

    Args:
        gain: Trained scores, higher is better; shifted and scaled here to 0 … 1. [n]
        chosen: Row numbers in the surrogate's order. [n]
        best: Row numbers in the true order. [n]

    Returns:
        Discounted gain of the surrogate's order as a share of the true order's; None if all gains are equal.
    """
    spread = float(np.ptp(gain))
    if spread == 0:
        return None
    share = (gain - np.min(gain)) / spread
    discount = 1 / np.log2(np.arange(2, len(gain) + 2))
    return float((share[chosen] @ discount) / (share[best] @ discount))


def pairwise_accuracy(sample: Sample, counts: Floats) -> Floats:
    """Count the pairs of a target that the surrogate orders rightly, for many row weightings.

    Args:
        sample: The paired scores, n rows.
        counts: How often each row occurs. [R, n]

    Returns:
        The share among pairs whose trained scores differ; NaN if there is none. [R]
    """
    agree, differ = np.zeros((2, len(counts)))
    for rows in strata(sample):
        less_wrong, _, differs = pair_sums(sample.merged[rows], sample.trained[rows], counts[:, rows])
        agree += (less_wrong + differs) / 2
        differ += differs
    return np.where(differ > 0, agree / np.where(differ > 0, differ, 1), np.nan)


def _pairwise(sample: Sample, seed: int) -> Estimate:
    if np.ptp(sample.trained) == 0:
        return Estimate.missing(sample.n, "all trained scores are equal: there is no right order")
    value = float(pairwise_accuracy(sample, np.ones((1, sample.n)))[0])
    interval = intervals.bootstrap(pairwise_accuracy, sample, seed)
    return Estimate(value, interval.low, interval.high, sample.n, interval.method, interval.reason)


def _top_quartile(sample: Sample, best: list[int], seed: int) -> Estimate:
    top = np.isin(np.arange(sample.n), best[: -(-sample.n // 4)])
    if np.sum(top) < FEWEST:
        return Estimate.missing(
            int(np.sum(top)), f"the best quarter of {sample.n} mixtures is too small for a correlation"
        )
    return correlation("spearman", sample.keep(top), seed)
