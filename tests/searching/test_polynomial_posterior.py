from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult, check_grad

from m2m.searching import polynomial_posterior as posterior
from m2m.searching.polynomial_posterior import START, PolynomialPosterior
from m2m.searching.polynomials import Quadratic
from m2m.support.arrays import Floats


def mixtures(count: int, n: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    subsets = generator.random((3 * count, n)) < generator.random((3 * count, 1))
    subsets = np.unique(subsets[subsets.any(1)], axis=0)
    points = generator.permutation(subsets)[:count].astype(float)
    return np.asarray(points / points.sum(1, keepdims=True))


def landscape(n: int, seed: int) -> Quadratic:
    generator = np.random.default_rng(seed)
    tasks = generator.standard_normal((n, 2 * n))
    return Quadratic(3.0, tasks @ generator.standard_normal(2 * n), tasks @ tasks.T / 2)


@given(st.integers(2, 6), st.integers(0, 50))
def test_a_quadratic_is_learnt_from_as_many_points_as_it_has_coefficients(n: int, seed: int) -> None:
    truth = landscape(n, seed)
    corners = np.vstack([np.eye(n), [(a + b) / 2 for i, a in enumerate(np.eye(n)) for b in np.eye(n)[:i]]])
    unseen = np.random.default_rng(seed).dirichlet(np.ones(n), 20)
    wide = np.array([6.0, 6.0, 6.0, 6.0, 6.0, -12.0, -10.0])
    belief = PolynomialPosterior(corners, truth.at(corners), wide, steps=0)
    # The prior pulls by noise / signal, e^-10 / e^6 a coefficient.
    np.testing.assert_allclose(
        belief.mean().at(unseen), truth.at(unseen), atol=1e-3 * np.ptp(truth.at(corners))
    )


@settings(max_examples=15)
@given(st.integers(0, 50))
def test_mean_prediction_and_draws_agree(seed: int) -> None:
    points, unseen = mixtures(20, 6, seed), mixtures(9, 6, seed + 1)
    truth = landscape(6, seed)
    variances = np.array([0.0, 0.0, -1.0, -1.0, -1.0, -1.0, -3.0])
    belief = PolynomialPosterior(points, truth.at(points), variances, steps=0)
    mean, covariance = belief.predict(unseen)
    scale = np.std(truth.at(points))
    np.testing.assert_allclose(belief.mean().at(unseen), mean, atol=1e-9 * scale)
    np.testing.assert_allclose(belief.predict(points)[0], belief.predicted(), atol=1e-9 * scale)
    generator = np.random.default_rng(seed)
    draws = np.array([belief.draw(generator).at(unseen) for _ in range(400)])
    deviation = np.sqrt(np.diag(covariance))
    # Mean of 400 draws: five standard errors; their spread: 400 draws know σ to 3.5 %, five of these.
    assert (np.abs(draws.mean(0) - mean) < 5 * deviation / 20).all()
    np.testing.assert_allclose(draws.std(0), deviation, rtol=0.18)


def test_the_gradient_of_the_evidence_is_right() -> None:
    points = mixtures(15, 5, 0)
    observed = posterior._Observed.of(points, landscape(5, 0).at(points))
    error = check_grad(
        lambda v: posterior._surprise(observed, v)[0], lambda v: posterior._surprise(observed, v)[1], START
    )
    assert error < 1e-4


def test_noise_is_told_from_signal() -> None:
    points = mixtures(120, 8, 0)
    truth = landscape(8, 0)
    losses = truth.at(points)
    noise = 0.1 * losses.std() * np.random.default_rng(0).standard_normal(len(losses))
    belief = PolynomialPosterior(points, losses + noise)
    assert belief.noise == pytest.approx(noise.std(), rel=0.3)
    assert np.std(belief.predicted() - losses) < 0.8 * noise.std()


def test_equal_scores_are_no_information() -> None:
    belief = PolynomialPosterior(np.eye(3), np.full(3, 2.5))
    np.testing.assert_allclose(belief.predict(np.full((1, 3), 1 / 3))[0], 2.5)


def test_variances_that_have_not_settled_are_said() -> None:
    points = mixtures(60, 8, 0)
    losses = landscape(8, 0).at(points)
    stopped = PolynomialPosterior(points, losses, steps=2)
    assert any("not settled after 2 steps" in note for note in stopped.notes)
    assert not any("settled" in note for note in PolynomialPosterior(points, losses).notes)
    assert PolynomialPosterior(points, losses, steps=0).notes == ()


def test_a_variance_at_its_bound_is_said() -> None:
    """A quadratic without noise leaves none to find; noise far above the scores' variance cannot be."""
    points = mixtures(60, 6, 0)
    smooth = PolynomialPosterior(points, landscape(6, 0).at(points))
    assert any("noise is at the least" in note for note in smooth.notes)
    rough = np.random.default_rng(0).standard_normal(len(points))
    assert not any("noise" in note for note in PolynomialPosterior(points, rough).notes)


@pytest.mark.parametrize("broken", ["fun", "x"])
def test_an_optimiser_that_finds_no_numbers_leaves_the_start(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = mixtures(20, 4, 0)
    found = OptimizeResult(fun=1.0, x=START + 1, jac=np.zeros(7), nit=3)
    found[broken] = np.full_like(found[broken], np.nan)
    monkeypatch.setattr(scipy.optimize, "minimize", lambda *_, **__: found)
    belief = PolynomialPosterior(points, landscape(4, 0).at(points))
    assert (belief.log_variances == START).all()
    assert "could not be fitted" in belief.notes[0]
