"""Regret, rank, recall, pairs, NDCG by hand, upside down, against scikit-learn; and choices made again."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.fidelity import fidelity
from analysis.fidelity.decision import uncertainty
from analysis.fidelity.intervals import MANY, RESAMPLES
from analysis.fidelity.scores import Points

MEMBERS = [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
MERGED = [0.1, 0.5, 0.3, 0.9, 0.2, 0.8]
TRAINED = [0.1, 0.6, 0.2, 0.7, 0.3, 0.9]
SCORES = st.lists(st.integers(-20, 20), min_size=2, max_size=12)


def test_by_hand() -> None:
    decision = fidelity(MERGED, TRAINED, members=MEMBERS).decision
    assert (decision.picked, decision.oracle, decision.rank) == ("a+b", "b+c", 2)
    assert decision.regret == pytest.approx(0.2)
    assert decision.regret_of_random == pytest.approx(0.9 - 2.8 / 6)
    assert decision.regret_at == pytest.approx({"1": 0.2, "3": 0.0, "5": 0.0})
    assert decision.recall_at == pytest.approx({"1": 0.0, "3": 1.0, "5": 1.0})
    # Wrong pairs: (a+b, b+c) and (c, a+c) of 15.
    assert decision.pairwise_accuracy.value == pytest.approx(13 / 15)
    assert decision.top_quartile_spearman.value is None


@pytest.mark.parametrize(
    ("datasets", "about", "said"),
    [("ab", "", "cannot be told from fewer than 6 datasets, here are 3"), ("abcdef", "new datasets", "")],
)
def test_pairs_of_mixtures_that_share_datasets_are_about_new_datasets(
    datasets: str, about: str, said: str
) -> None:
    members = [names for size in (1, 2) for names in combinations(datasets + "z", size)]
    merged = np.random.default_rng(0).normal(size=len(members))
    trained = merged + 0.5 * np.random.default_rng(1).normal(size=len(members))
    found = fidelity(merged, trained, members=members).decision.pairwise_accuracy
    assert (found.about, said in found.reason) == (about, True)
    if about:
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert 0 <= found.low < found.value < found.high <= 1
        alone = fidelity(merged, trained).decision.pairwise_accuracy
        assert (alone.value, alone.about) == (found.value, "new mixtures")


def test_a_loss_is_the_same_decision_upside_down() -> None:
    up = fidelity(MERGED, TRAINED, members=MEMBERS).decision
    down = fidelity(
        [-x for x in MERGED], [-x for x in TRAINED], members=MEMBERS, higher_is_better=False
    ).decision
    assert (up.picked, up.oracle, up.rank, up.recall_at) == (
        down.picked,
        down.oracle,
        down.rank,
        down.recall_at,
    )
    assert (up.regret, up.ndcg) == pytest.approx((down.regret, down.ndcg))


def test_ties_go_to_fewer_datasets_then_to_order() -> None:
    decision = fidelity([1, 1, 1, 0], [1, 2, 3, 4], members=[("a", "b"), ("c",), ("b",), ("a",)]).decision
    assert decision.picked == "c"


def test_without_members_ties_go_to_order() -> None:
    assert fidelity([0, 1, 1, 0], [1, 2, 3, 4]).decision.picked == "row 2"


@settings(max_examples=25)
@given(scores=SCORES)
def test_a_perfect_surrogate_loses_nothing(scores: list[int]) -> None:
    decision = fidelity(scores, scores).decision
    assert (decision.regret, decision.rank) == (0, 1)
    assert all(share == 1 for share in decision.recall_at.values())
    assert decision.ndcg in (None, 1)
    assert decision.pairwise_accuracy.value in (None, 1)


@settings(max_examples=25)
@given(scores=SCORES, seed=st.integers(0, 99))
def test_laws(scores: list[int], seed: int) -> None:
    truth = np.random.default_rng(seed).permutation(scores)
    decision = fidelity(scores, truth).decision
    regrets = list(decision.regret_at.values())
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[0] == decision.regret
    assert 0 <= decision.regret <= np.ptp(truth)
    assert 1 <= decision.rank <= len(scores)
    assert decision.ndcg is None or 0 < decision.ndcg <= 1 + 1e-12


def test_ndcg_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    gain = (np.array(TRAINED) - min(TRAINED)) / np.ptp(TRAINED)
    expected = metrics.ndcg_score([gain], [MERGED])
    assert fidelity(MERGED, TRAINED).decision.ndcg == pytest.approx(expected, abs=1e-12)


def test_a_surrogate_without_opinion_gets_half_the_pairs() -> None:
    assert fidelity([1, 1, 1, 1], [1, 2, 3, 4]).decision.pairwise_accuracy.value == pytest.approx(0.5)


def test_top_quartile_is_among_the_truly_best() -> None:
    trained = np.arange(16.0)
    merged = trained.copy()
    merged[12:] = merged[12:][::-1]
    assert fidelity(merged, trained).decision.top_quartile_spearman.value == pytest.approx(-1)


@pytest.mark.parametrize(
    ("merged", "reason"), [([1, math.nan, 3, 4], "not finite"), ([1], "nothing to choose from")]
)
def test_no_decision_has_a_reason(merged: list[float], reason: str) -> None:
    decision = fidelity(merged, list(range(len(merged)))).decision
    assert (decision.picked, decision.regret, decision.rank, decision.ndcg) == (None, None, None, None)
    assert reason in decision.reason


#: Six standard errors of a share of RESAMPLES draws: missed once in 5e8.
SIX_SIGMA = 6 * math.sqrt(0.25 / RESAMPLES)


def points(merged: list[float], trained: list[float], **more: object) -> Points:
    n = len(merged)
    given = {"again": np.full(n, np.nan), "members": None, "higher_is_better": True} | more
    labels = tuple(map(str, range(n)))
    return Points("t", "m", labels=labels, merged=np.array(merged), trained=np.array(trained), **given)


def test_of_two_mixtures_half_the_redraws_hold_both() -> None:
    """Drawn with replacement, both are there with chance 1/2; alone, either is its own best."""
    found = uncertainty(points([1.0, 0.0], [0.0, 1.0]), seed=0)["mixtures"]
    assert found.within["0"] == pytest.approx(0.5, abs=SIX_SIGMA)
    assert (found.regret_at["1"].low, found.regret_at["1"].high) == (0, 1)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_seeds_are_drawn_for_each_mixture(higher_is_better: bool) -> None:
    """Of 3 mixtures with 2 seeds each, the picked one wins in 5 of the 8 ways."""
    sign = 1.0 if higher_is_better else -1.0
    # 0 scores 2 or 4, 1 scores 3 or 1, 2 scores 0 or 3: 0 wins with 4 (4 ways), or 2 > 1, 0 (1 way).
    trained, again = sign * np.array([2.0, 3, 0]), sign * np.array([4.0, 1, 3])
    asked = points(
        list(sign * np.array([9.0, 8, 7])), list(trained), again=again, higher_is_better=higher_is_better
    )
    assert uncertainty(asked, seed=1)["seeds"].within["0"] == pytest.approx(5 / 8, abs=SIX_SIGMA)


def test_examples_are_drawn_for_all_models_alike() -> None:
    """Two examples, each right for another mixture: the redraws hold (2, 0), (1, 1) or (0, 2) of them."""
    each = np.array([[1.0, 0.0], [0.0, 1.0]])
    asked = points([0.5, 0.5], [0.5, 0.5], examples=((each, each),))
    found = uncertainty(asked, seed=2)["examples"]
    assert found.within["0"] == 1  # merged and trained agree in every redraw
    opposite = points([0.5, 0.5], [0.5, 0.5], examples=((each, each[::-1]),))
    assert uncertainty(opposite, seed=2)["examples"].regret_at["1"].high == pytest.approx(1)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 12), seed=st.integers(0, 99))
def test_laws_of_every_redraw(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    merged, trained, again = rng.integers(0, 5, size=(3, n)).astype(float)
    for found in uncertainty(points(list(merged), list(trained), again=again), seed).values():
        shares = list(found.within.values())
        assert shares == sorted(shares)
        highs = [interval.high for interval in found.regret_at.values()]
        assert highs == sorted(highs, reverse=True)
        assert all(i.low >= 0 for i in found.regret_at.values())
        assert all(0 <= i.low <= i.high <= 1 for i in found.recall_at.values())


def test_a_surrogate_that_is_the_truth_is_never_wrong() -> None:
    scores = [3.0, 1.0, 2.0, 5.0]
    for found in uncertainty(points(scores, scores), seed=0).values():
        assert set(found.within.values()) <= {1.0}


def test_what_cannot_be_redrawn_says_why() -> None:
    found = uncertainty(points([1.0, 2.0], [1.0, 2.0]), seed=0)
    assert found["seeds"].reason == "no second training seed"
    assert "single examples" in found["examples"].reason
    many = [float(i) for i in range(MANY + 1)]
    assert "left out" in uncertainty(points(many, many), seed=0)["mixtures"].reason
