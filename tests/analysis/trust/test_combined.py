"""The combined surrogate: its posterior, monotone weights, ends and units, and how its prior is learned."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.benchmarks import benchmark
from helpers.trust_landscapes import landscape, scores
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.trust import combined, study
from analysis.trust.combined import PRIOR, Coefficients, features, monotone

truths = benchmark("combined")


def drawn(seed: int) -> Coefficients:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3))
    return Coefficients(rng.normal(size=3), root @ root.T + 0.1 * np.eye(3), 0.2)


@given(seed=st.integers(0, 999))
def test_the_posterior_is_the_regression_with_the_prior_as_rows(seed: int) -> None:
    """The twin: the prior, whitened, is three more observations of least squares."""
    rng, prior = np.random.default_rng(seed), drawn(seed)
    phi, gains = rng.normal(size=(5, 3)), rng.normal(size=5)
    mean, covariance = prior.updated(phi, gains)
    root = np.linalg.inv(np.linalg.cholesky(prior.covariance))
    rows = np.vstack([root, phi / np.sqrt(prior.noise)])
    values = np.concatenate([root @ prior.mean, gains / np.sqrt(prior.noise)])
    np.testing.assert_allclose(mean, np.linalg.lstsq(rows, values, rcond=None)[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(covariance, np.linalg.inv(rows.T @ rows), rtol=1e-6, atol=1e-9)


@given(seed=st.integers(0, 999))
def test_monotone_weights_are_the_likeliest_that_are_allowed(seed: int) -> None:
    prior, rng = drawn(seed), np.random.default_rng(seed)
    found = monotone(prior.mean, prior.covariance)
    assert min(found[0], found[1], 1 - found[0] - found[1]) >= -1e-9
    inverse = np.linalg.inv(prior.covariance)

    def distance(beta: np.ndarray) -> float:
        return float((beta - prior.mean) @ inverse @ (beta - prior.mean))

    near = found + 0.01 * rng.normal(size=(200, 3))
    far = np.column_stack([rng.dirichlet(np.ones(3), 200)[:, :2], prior.mean[2] + rng.normal(size=200)])
    for other in np.vstack([near, far]):
        if min(other[0], other[1], 1 - other[0] - other[1]) >= 0:
            assert distance(found) <= distance(other) + 1e-9


@given(seed=st.integers(0, 99), trained=st.integers(0, 8))
def test_single_datasets_and_trained_mixtures_keep_their_scores(seed: int, trained: int) -> None:
    on = landscape(seed, trained)
    found, known = combined(on), np.isfinite(on.measured)
    assert (found[known] == on.measured[known]).all()
    np.testing.assert_allclose(features(on.merged, on.weights)[~on.several], 0, atol=1e-12)


@given(seed=st.integers(0, 99), factor=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_units_and_direction_do_not_matter(seed: int, factor: float, shift: float) -> None:
    on = landscape(seed)
    moved = replace(on, merged=factor * on.merged + shift, trained=factor * on.trained + shift)
    as_loss = replace(on, merged=-on.merged, trained=-on.trained, higher_is_better=False)
    np.testing.assert_allclose(combined(moved), factor * combined(on) + shift, rtol=1e-6, atol=1e-6 * factor)
    np.testing.assert_allclose(combined(as_loss), -combined(on), rtol=1e-9, atol=1e-9)


@settings(max_examples=20)
@given(seed=st.integers(0, 99))
def test_no_score_counts_against_its_mixture(seed: int) -> None:
    """Raise one mixture's merged score: its combined score does not fall."""
    on = landscape(seed, 0, 3)
    phi = features(on.merged, on.weights)
    beta = monotone(PRIOR.mean, PRIOR.covariance)
    rows = np.flatnonzero(on.several)
    for low, high in pairwise([0.0, 0.5, 2.0]):
        values = []
        for more in (low, high):
            merged = on.merged.copy()
            merged[rows[0]] += more
            values.append((merged + features(merged, on.weights) @ beta)[rows[0]])
        assert values[1] >= values[0] - 1e-12
    assert phi.shape == (7, 3)


def test_enough_trainings_find_a_landscape_of_its_kind() -> None:
    merged, _ = scores(3, 5)
    on = landscape(3, 0, 5)
    beta = np.array([0.5, 0.2, 0.3])
    phi = features(merged / on.unit, on.weights)
    truth = merged + on.unit * phi @ beta
    several = np.flatnonzero(on.several)
    shown = np.full(len(merged), np.nan)
    shown[several[::2]] = truth[several[::2]]
    sharp = replace(PRIOR, noise=1e-6)
    assert combined(replace(on, trained=shown[None]), sharp) == pytest.approx(truth, abs=1e-3)


def test_it_stands_in_the_study_beside_the_other_picks() -> None:
    on = landscape(1)
    found = study([on]).by["all"]
    assert (found.combined == combined(on)).all()
    assert found.to_json()["combined"]["mixture"] == on.mixtures[on.best(found.combined)].label


def test_the_prior_is_what_truths_have_in_common() -> None:
    rng = np.random.default_rng(0)
    made = []
    for seed in range(30):
        truth = truths.Truth.made(seed)
        beta = np.array([0.3, 0.4, 0.2]) + 0.1 * rng.normal(size=3)
        added = truth.features @ beta + 0.05 * rng.normal(size=len(truth.merged))
        made.append(truths.Truth(None, truth.merged, truth.merged + added, truth.weights))
    found = truths.learned([made])
    np.testing.assert_allclose(found.mean, [0.3, 0.4, 0.2], atol=0.1)
    assert 0.02 < np.sqrt(found.noise) < 0.1
