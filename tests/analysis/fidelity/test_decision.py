"""Regret, rank, recall, pairs, NDCG: by hand, upside down, and against scikit-learn where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.fidelity import fidelity

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
