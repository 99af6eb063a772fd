"""The rule, the list of claims, and the estimates they are judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.validate import CLAIMS, Claim, Evidence, judge
from analysis.validate.evidence import advantage, of_grid
from analysis.validate.grid import Grid, pooled
from analysis.validate.trainings import scaled, spread
from m2m.mixture import all_subsets
from m2m.training import TrainRecipe

CLAIM = Claim("x", "derived", "text", "quantity", 0.5, "above", "something")


def evidence(low: float | None, high: float | None) -> Evidence:
    return Evidence(0.0, low, high, 3, "rows", "method")


@given(st.floats(-2, 2), st.floats(0, 2), st.floats(-1, 1))
def test_the_rule_mirrors(low: float, width: float, threshold: float) -> None:
    above = replace(CLAIM, threshold=threshold)
    below = replace(above, threshold=-threshold, side="below")
    found = judge("run", above, evidence(low, low + width)).outcome
    assert judge("run", below, evidence(-low - width, -low)).outcome == found
    assert found == ("holds" if low > threshold else "fails" if low + width < threshold else "unresolved")
    opposite = judge("run", replace(above, side="below"), evidence(low, low + width)).outcome
    assert (found, opposite) in {("holds", "fails"), ("fails", "holds"), ("unresolved", "unresolved")}


def test_nothing_measured_is_unresolved_and_says_what_is_missing() -> None:
    verdict = judge("", CLAIM, None)
    assert (verdict.outcome, verdict.reason) == ("unresolved", "needs something")
    assert judge("run", CLAIM, evidence(None, None)).reason == "no interval"
    assert judge("run", CLAIM, evidence(0.4, 0.6)).reason == "the interval holds the threshold"
    assert judge("run", CLAIM, evidence(0.5, 0.5)).outcome == "unresolved"


def test_claims_are_told_apart_and_say_what_they_need() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.source for claim in CLAIMS} == {"Merge to Mix", "MergeMix", "derived", "failure signature"}
    assert all(claim.needs and claim.quantity and claim.text.endswith(".") for claim in CLAIMS)


def test_pooling_ignores_how_hard_targets_are() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3, 9))
    alone = [pooled("pearson", x[t : t + 1], y[t : t + 1]) for t in range(3)]
    assert alone == pytest.approx([np.corrcoef(x[t], y[t])[0, 1] for t in range(3)])
    shift = np.array([[0.0], [50.0], [-7.0]])
    assert pooled("pearson", x + shift, y - shift) == pytest.approx(pooled("pearson", x, y))
    assert np.isnan(pooled("pearson", np.ones((2, 4)), y[:2, :4]))


def grid(merged: np.ndarray, trained: np.ndarray) -> Grid:
    return Grid(("t", "u"), tuple(all_subsets("abc")), np.zeros(2), merged, trained)


def test_harm_is_counted_where_either_model_is_harmed() -> None:
    rng = np.random.default_rng(2)
    merged, trained = rng.standard_normal((2, 2, 7))
    one, other = advantage(grid(merged, trained), trained, 0), advantage(grid(trained, merged), merged, 0)
    assert one.value == pytest.approx(-other.value)
    assert one.n == other.n == int((np.minimum(merged, trained)[:, 3:] < 0).sum())
    assert advantage(grid(merged, merged), merged, 0).value == 0
    assert advantage(grid(merged + 9, trained + 9), trained + 9, 0).value is None


def test_a_constant_offset_is_no_disagreement() -> None:
    rng = np.random.default_rng(3)
    trained = rng.standard_normal((2, 7))
    shifted = of_grid(grid(trained + np.array([[0.3], [-2.0]]), trained), 0)["constant_offset"]
    assert shifted.value == pytest.approx(0, abs=1e-14)
    assert of_grid(grid(0 * trained, trained), 0)["constant_offset"].value == pytest.approx(1)


def test_factors_are_spread_around_one() -> None:
    assert spread(3, 4.0) == pytest.approx((0.5, 1, 2))
    assert spread(3, 4.0, backwards=True) == pytest.approx((2, 1, 0.5))
    assert spread(1, 16.0) == (1.0,)
    recipe = TrainRecipe(steps=3, batch=2, learning_rate=0.1, warmup=2)
    assert scaled(recipe, "learning_rate", 0.5).learning_rate == 0.05
    assert scaled(recipe, "steps", 0.1).steps == 2  # never below the warm-up
