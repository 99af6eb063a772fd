"""Scheffé's quadratic on scores: exact where training adds a quadratic, and says which pair is missing."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers.trust_landscapes import landscape, scores
from hypothesis import given
from hypothesis import strategies as st

from analysis.trust import Landscape, scheffe
from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.support.arrays import Floats


def quadratic(weights: Floats, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    n = weights.shape[1]
    return sum(rng.normal() * weights[:, k] * weights[:, j] for k, j in combinations(range(n), 2))  # type: ignore[return-value]


@given(seed=st.integers(0, 1000), datasets=st.integers(2, 6))
def test_quadratics_are_met_exactly(seed: int, datasets: int) -> None:
    on = landscape(0, 0, datasets)
    truth = on.merged + quadratic(on.weights, seed)
    pairs = np.sum(on.weights > 0, axis=1) == 2
    seen = replace(on, trained=np.where(pairs, truth, np.nan)[None])
    np.testing.assert_allclose(scheffe(seen), truth, atol=1e-12)


def test_any_shares_of_a_pair_do_and_singles_stay() -> None:
    shares = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.3, 0.7, 0), (0.6, 0, 0.4), (0, 0.5, 0.5), (0.2, 0.3, 0.5)]
    mixtures = tuple(Mixture(("a", "b", "c"), tuple(map(float, row))) for row in shares)
    merged = np.arange(7.0)
    weights = np.array(shares)
    truth = merged + quadratic(weights, 0)
    trained = np.where(np.arange(7) == 6, np.nan, truth)
    found = scheffe(Landscape(mixtures, merged, trained[None]))
    assert found == pytest.approx(truth)
    assert (found[:3] == merged[:3]).all()


def test_a_missing_pair_is_named() -> None:
    _, truth = scores(0)
    on = landscape(0, 0)
    without = np.where(np.arange(15) == 8, np.nan, truth)
    assert on.mixtures[8].label == "b+d"
    with pytest.raises(InputError, match=r"^target 'all': 1 of 6 pairs were not trained, such as b\+d"):
        scheffe(replace(on, trained=without[None]))
