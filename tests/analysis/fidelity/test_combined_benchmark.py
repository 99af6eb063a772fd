"""The benchmark's combined surrogate: its posterior, its monotone weights, and what it is at its ends."""

from __future__ import annotations

import numpy as np
from helpers.benchmarks import benchmark
from hypothesis import given, settings
from hypothesis import strategies as st

combined = benchmark("combined")
NONE = np.array([], dtype=int)


def prior(rng: np.random.Generator) -> object:
    root = rng.normal(size=(3, 3))
    return combined.Prior(rng.normal(size=3), root @ root.T + 0.1 * np.eye(3), 0.2)


@settings(max_examples=30)
@given(seed=st.integers(0, 999))
def test_the_posterior_is_the_regression_with_the_prior_as_rows(seed: int) -> None:
    """The twin: whiten the prior into three more observations and solve least squares."""
    rng = np.random.default_rng(seed)
    belief, features, residual = prior(rng), rng.normal(size=(5, 3)), rng.normal(size=5)
    mean, covariance = belief.updated(features, residual)
    root = np.linalg.inv(np.linalg.cholesky(belief.covariance))
    rows = np.vstack([root, features / np.sqrt(belief.noise)])
    values = np.concatenate([root @ belief.mean, residual / np.sqrt(belief.noise)])
    np.testing.assert_allclose(mean, np.linalg.lstsq(rows, values, rcond=None)[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(covariance, np.linalg.inv(rows.T @ rows), rtol=1e-6, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999))
def test_monotone_weights_are_the_likeliest_that_are_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    belief = prior(rng)
    found = combined.monotone(belief.mean, belief.covariance)
    assert min(found[0], found[1], 1 - found[0] - found[1]) >= -1e-6
    inverse = np.linalg.inv(belief.covariance)

    def distance(beta: np.ndarray) -> float:
        return float((beta - belief.mean) @ inverse @ (beta - belief.mean))

    shares = rng.dirichlet(np.ones(3), 300)[:, :2]
    others = np.column_stack([shares, belief.mean[2] + 3 * rng.normal(size=300)])
    assert distance(found) <= min(map(distance, others)) + 1e-4


@settings(max_examples=20)
@given(seed=st.integers(0, 200))
def test_single_datasets_keep_their_score(seed: int) -> None:
    truth = combined.Truth.made(seed)
    scores = combined.combined(truth, prior(np.random.default_rng(seed)), NONE)
    alone = truth.sizes == 1
    np.testing.assert_allclose(scores[alone], truth.merged[alone], atol=1e-12)
    np.testing.assert_allclose(truth.best[alone], truth.merged[alone])


def test_the_prior_finds_what_truths_have_in_common() -> None:
    rng = np.random.default_rng(0)
    truths = []
    for seed in range(40):
        made = combined.Truth.made(seed)
        beta = np.array([0.3, 0.4, 0.2]) + 0.1 * rng.normal(size=3)
        added = made.features @ beta + 0.05 * rng.normal(size=len(made.merged))
        truths.append(combined.Truth(None, made.merged, made.merged + added, made.weights))
    found = combined.Prior.learned([truths])
    np.testing.assert_allclose(found.mean, [0.3, 0.4, 0.2], atol=0.1)
    assert 0.02 < np.sqrt(found.noise) < 0.1
