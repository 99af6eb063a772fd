"""When merging knows more than its members: its parts are what they are said to be, and are drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import benchmark
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_figs.merge_to_mix import leads as figure

leads = benchmark("leads")
SETTING = leads.Setting


@settings(max_examples=20)
@given(seed=st.integers(0, 999), steps=st.integers(1, 64))
def test_merging_adds_what_members_lie_apart_in_the_target_s_curvature(seed: int, steps: int) -> None:
    """J = ½ Σ_{k<j} λ_kλ_j d_kjᵀMd_kj, never negative."""
    rng = np.random.default_rng(seed)
    experts, target = rng.normal(size=(4, 6)), rng.normal(size=6)
    metric = (root := rng.normal(size=(6, 6))) @ root.T
    weights = rng.dirichlet(np.ones(4))

    def score(x: np.ndarray) -> float:
        return float(-0.5 * (x - target) @ metric @ (x - target))

    apart = [experts[k] - experts[j] for k, j in combinations(range(4), 2)]
    pairs = [weights[k] * weights[j] for k, j in combinations(range(4), 2)]
    added = 0.5 * sum(w * d @ metric @ d for w, d in zip(pairs, apart, strict=True))
    mean = sum(w * score(x) for w, x in zip(weights, experts, strict=True))
    assert score(weights @ experts) - mean == pytest.approx(added, rel=1e-9, abs=1e-9)
    drawn = leads.draw(rng, SETTING(steps=steps))
    assert np.min(drawn.added) >= -1e-12 * np.max(np.abs(drawn.mean))


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_training_takes_nothing_away_where_nothing_is_to_take(seed: int) -> None:
    """One step, or one Hessian for all: the mixture-trained model is the merged one."""
    for setting in (SETTING(steps=1), SETTING(steps=40, own=0.0)):
        drawn = leads.draw(np.random.default_rng(seed), setting)
        scale = np.max(np.abs(drawn.mean))
        np.testing.assert_allclose(drawn.lost / scale, 0, atol=1e-10)
        assert leads.numbers(drawn)["merged"] == pytest.approx(1)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_second_order_theory_is_exact_for_two_steps(seed: int) -> None:
    drawn = leads.draw(np.random.default_rng(seed), SETTING(steps=2, own=1.0))
    np.testing.assert_allclose(drawn.lost, drawn.foretold, atol=1e-10 * np.max(np.abs(drawn.mean)))


@settings(max_examples=20)
@given(seed=st.integers(0, 999), steps=st.integers(2, 64))
def test_the_criterion_is_whose_error_varies_less(seed: int, steps: int) -> None:
    drawn = leads.draw(np.random.default_rng(seed), SETTING(steps=steps))
    trained = drawn.mean + drawn.added - drawn.lost
    of_mean, of_merging = trained - drawn.mean, trained - drawn.mean - drawn.added
    expected = np.var(of_mean, ddof=1) - np.var(of_merging, ddof=1)
    found = leads.numbers(drawn)
    assert found["criterion"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert abs(found["lead over mean"]) <= found["lead at most"] + 1e-9


def test_the_figure_shows_medians_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leads, "STEPS", (2, 8))
    rows = leads.table(4)
    assert len(rows) == 4 * 2 * 9
    rows.to_csv(tmp_path / figure.TABLE, index=False)
    drawn = figure.draw(tmp_path, tmp_path)
    assert {path.suffix for path in drawn} >= {".png", ".svg"}
    assert {path.stem for path in drawn} == {"leads"}
