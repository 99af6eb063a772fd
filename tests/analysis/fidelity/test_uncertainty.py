"""Choices made again: exact chances of small cases, and laws of every redraw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.fidelity.decision import uncertainty
from analysis.fidelity.intervals import MANY, RESAMPLES
from analysis.fidelity.scores import Points

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
    asked = points([0.5, 0.5], [0.5, 0.5], examples=(each, each))
    found = uncertainty(asked, seed=2)["examples"]
    assert found.within["0"] == 1  # merged and trained agree in every redraw
    opposite = points([0.5, 0.5], [0.5, 0.5], examples=(each, each[::-1]))
    assert uncertainty(opposite, seed=2)["examples"].regret_at["1"].high == pytest.approx(1)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 12), seed=st.integers(0, 99))
def test_laws(n: int, seed: int) -> None:
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
