"""The noise ceiling: attenuation undone where it is known, and no ceiling without a second seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.fidelity import fidelity


def noisy(n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a surrogate without error, and two noisy looks at the truth. each [n]"""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return truth, truth + noise * rng.normal(size=n), truth + noise * rng.normal(size=n)


def test_a_surrogate_without_error_reaches_the_ceiling() -> None:
    surrogate, first, second = noisy(4000, 0.8, seed=0)
    ceiling = fidelity(surrogate, first, again=second).ceiling
    reliability = 1 / (1 + 0.8**2)
    # Standard errors of the correlations at n = 4000 are below 0.01.
    assert ceiling.agreement["pearson"].value == pytest.approx(reliability, abs=0.04)
    assert ceiling.attainable["pearson"] == pytest.approx(math.sqrt(reliability), abs=0.04)
    assert ceiling.corrected["pearson"].value == pytest.approx(1, abs=0.04)


def test_by_hand() -> None:
    surrogate, first, second = noisy(12, 0.5, seed=1)
    ceiling = fidelity(surrogate, first, again=second).ceiling
    agreement = stats.spearmanr(first, second).statistic
    assert ceiling.agreement["spearman"].value == pytest.approx(agreement)
    expected = stats.spearmanr(surrogate, first).statistic / math.sqrt(agreement)
    assert ceiling.corrected["spearman"].value == pytest.approx(expected)
    assert ceiling.corrected["spearman"].method == "mixture bootstrap"


def test_only_mixtures_with_a_second_seed_count() -> None:
    surrogate, first, second = noisy(12, 0.5, seed=2)
    second[:4] = np.nan
    agreement = fidelity(surrogate, first, again=second).ceiling.agreement["pearson"]
    assert agreement.n == 8
    assert agreement.value == pytest.approx(stats.pearsonr(first[4:], second[4:]).statistic)


def test_no_second_seed() -> None:
    surrogate, first, _ = noisy(8, 0.5, seed=3)
    ceiling = fidelity(surrogate, first).to_json()["ceiling"]["pearson"]
    assert (ceiling["value"], ceiling["attainable"], ceiling["corrected"]["value"]) == (None, None, None)
    assert ceiling["reason"] == "no second training seed"


def test_seeds_that_contradict_each_other_leave_nothing_to_correct() -> None:
    ceiling = fidelity([1, 3, 2, 5, 4, 6], [1, 2, 3, 4, 5, 6], again=[6, 5, 4, 3, 1, 2]).ceiling
    assert ceiling.attainable["pearson"] is None
    assert ceiling.corrected["pearson"].value is None
    assert "no signal" in ceiling.corrected["pearson"].reason
