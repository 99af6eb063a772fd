"""The spectrum of a curvature, its ends, trace and density, against spectra that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import SmallNetSetup, small_net_setup
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, wasserstein_distance
from torch import Tensor, nn

from analysis.curvature import (
    LossSurface,
    Matrix,
    density,
    quadratic_expansion,
    spectral_norm,
    spectrum,
    trace,
)
from analysis.curvature.spectrum import hutch_plus_plus, hutchinson, lanczos_quadrature, random_signs
from m2m.errors import InputError
from m2m.setups.protocol import Batch, Examples


def surface_of(setup: SmallNetSetup) -> LossSurface:
    return LossSurface(setup, setup.base_state(Path()))


def test_both_ends_of_the_spectrum() -> None:
    setup = small_net_setup()
    surface, data = surface_of(setup), setup.datasets["a"]
    dense = surface.products(data, torch.eye(surface.size, dtype=torch.float64)).numpy()
    exact = np.linalg.eigvalsh((dense + dense.T) / 2)
    found = spectrum(surface, data, 4, tolerance=1e-10)
    np.testing.assert_allclose(found.eigenvalues, exact[[0, 1, -2, -1]], rtol=1e-8)
    assert np.all(found.residuals < 1e-6 * np.abs(exact).max())
    assert found.norm == pytest.approx(np.abs(exact).max(), rel=1e-5)
    assert found.norm >= np.abs(exact).max()


def test_the_same_seed_gives_the_same_ends() -> None:
    setup = small_net_setup()
    surface, data = surface_of(setup), setup.datasets["a"]
    first, again = (spectrum(surface, data, 2, seed=1) for _ in range(2))
    assert first.eigenvalues.tobytes() == again.eigenvalues.tobytes()


def test_norm_of_a_zero_matrix() -> None:
    assert spectral_norm(torch.zeros_like, torch.zeros(5, dtype=torch.float64)) == 0


def test_what_cannot_be_asked() -> None:
    setup = linear_setup(seed=0)
    surface = LossSurface(setup, setup.base_state(Path()))
    with pytest.raises(InputError, match="wanted 5 eigenvalues of a 5 × 5 Hessian"):
        spectrum(surface, setup.datasets["a"], 5)


def decaying(size: int, power: float, seed: int = 0) -> Tensor:
    """Return a symmetric matrix with eigenvalues ±i^−power in random directions. [P, P]"""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))[0]
    values = torch.arange(1, size + 1, dtype=torch.float64) ** -power
    return (basis * values) @ basis.T


def hutchinson_variance(matrix: Tensor) -> float:
    """Return 2 Σ_{i≠j} A_ij², the variance of vᵀAv for random signs."""
    return 2 * (matrix.square().sum() - matrix.diagonal().square().sum()).item()


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_hutchinson_lies_within_its_error(matrix: Matrix) -> None:
    setup = small_net_setup(examples=5)  # one batch
    surface, data = surface_of(setup), setup.datasets["a"]
    dense = surface.products(data, torch.eye(surface.size, dtype=torch.float64), matrix=matrix)
    found = trace(surface, data, 64, matrix=matrix)
    error = (hutchinson_variance(dense) / 64) ** 0.5
    assert found.standard_error == pytest.approx(error, rel=0.5)
    assert abs(found.value - dense.trace().item()) <= 5 * error


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_hutch_plus_plus_lies_within_its_error(matrix: Matrix) -> None:
    setup = small_net_setup()
    surface, data = surface_of(setup), setup.datasets["a"]
    dense = surface.products(data, torch.eye(surface.size, dtype=torch.float64), matrix=matrix)
    found = trace(surface, data, 48, matrix=matrix, sketched=True)
    assert found.products == 48
    # Given the sketch, what is left is Hutchinson's estimate of (I − QQᵀ)A(I − QQᵀ) from 16 vectors.
    basis = torch.linalg.qr((random_signs(16, surface.zeros(), 0) @ dense).T)[0]
    outside = torch.eye(surface.size, dtype=torch.float64) - basis @ basis.T
    error = (hutchinson_variance(outside @ dense @ outside) / 16) ** 0.5
    assert abs(found.value - dense.trace().item()) <= 5 * error
    if matrix == "ggn":  # what it is for: few large eigenvalues, none negative
        assert error < 0.1 * (hutchinson_variance(dense) / 48) ** 0.5


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_low_rank_is_captured_exactly(seed: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(30, rank, dtype=torch.float64, generator=generator)
    a = factor @ factor.T
    found = hutch_plus_plus(lambda v: v @ a, a[0], 3 * rank, seed=seed)
    # AS has full rank but for random signs that fall together, as two of rank ones may.
    if torch.linalg.matrix_rank(factor.T @ random_signs(rank, a[0], seed).T) == rank:
        assert found.value == pytest.approx(a.trace().item(), rel=1e-9)
        assert found.standard_error <= 1e-9 * a.trace().item()


def test_both_are_unbiased_and_the_sketch_pays_where_eigenvalues_decay() -> None:
    a = decaying(60, 2)
    truth, seeds = a.trace().item(), range(200)
    errors = {}
    for estimate in (hutchinson, hutch_plus_plus):
        values = torch.tensor([estimate(lambda v: v @ a, a[0], 12, seed=s).value for s in seeds])
        errors[estimate] = values.std().item()
        assert abs(values.mean().item() - truth) <= 5 * errors[estimate] / len(seeds) ** 0.5
    assert errors[hutchinson] == pytest.approx((hutchinson_variance(a) / 12) ** 0.5, rel=0.25)
    assert errors[hutch_plus_plus] < 0.5 * errors[hutchinson]


def test_stated_errors_are_those_over_seeds() -> None:
    a = decaying(60, 0.5)
    for estimate in (hutchinson, hutch_plus_plus):
        found = [estimate(lambda v: v @ a, a[0], 30, seed=seed) for seed in range(100)]
        spread = torch.tensor([one.value for one in found]).std().item()
        stated = torch.tensor([one.standard_error**2 for one in found]).mean().item() ** 0.5
        assert stated == pytest.approx(spread, rel=0.25)


def test_a_diagonal_hessian_has_an_exact_trace() -> None:
    setup = linear_setup(seed=0)
    x = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
    data = Examples((x, x.sum(1)))
    found = trace(LossSurface(setup, setup.base_state(Path())), data, 2)
    assert (found.value, found.standard_error) == (pytest.approx(11, rel=1e-14), pytest.approx(0, abs=1e-14))


def test_more_products_than_coordinates_are_not_used() -> None:
    a = decaying(5, 1)
    found = hutch_plus_plus(lambda v: v @ a, a[0], 99, seed=0)
    assert found.products == 15
    assert found.value == pytest.approx(a.trace().item(), rel=1e-12)


def test_the_same_seed_gives_the_same_trace() -> None:
    setup = small_net_setup(examples=5)  # one batch
    surface, data = surface_of(setup), setup.datasets["a"]
    for sketched in (False, True):
        first, again, other = (trace(surface, data, 9, seed=s, sketched=sketched) for s in (1, 1, 2))
        assert first == again
        assert first != other
    assert torch.equal(random_signs(3, surface.zeros(), 5), random_signs(7, surface.zeros(), 5)[:3])


def test_too_few_products() -> None:
    setup = linear_setup(seed=0)
    surface = LossSurface(setup, setup.base_state(Path()))
    with pytest.raises(InputError, match="at least 2 products, got 1"):
        trace(surface, setup.datasets["a"], 1)
    with pytest.raises(InputError, match=r"Hutch\+\+ with an error needs at least 6 products, got 5"):
        trace(surface, setup.datasets["a"], 5, sketched=True)


def symmetric(size: int, seed: int) -> Tensor:
    """Return a random symmetric matrix with a few large eigenvalues. [P, P]"""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(size, size, dtype=torch.float64, generator=generator)
    spike = torch.randn(size, 2, dtype=torch.float64, generator=generator)
    return (a + a.T) / 2 + spike @ spike.T


def measure(a: Tensor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and what the first probe of that seed sees of each: its spectral measure."""
    values, vectors = torch.linalg.eigh(a)
    v = random_signs(1, a[0], seed)[0] / len(a) ** 0.5
    return values.numpy(), (vectors.T @ v).square().numpy()


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_moments_of_a_probe_are_exact(seed: int, steps: int) -> None:
    a = symmetric(25, seed)
    a = a / torch.linalg.matrix_norm(a, 2)
    found = lanczos_quadrature(lambda v: v @ a, a[0], steps, 1, seed=seed)
    values, weights = measure(a, seed)
    for power in range(2 * steps):  # Gauss quadrature: exact up to degree 2m − 1
        assert found.weights @ found.nodes**power == pytest.approx(weights @ values**power, abs=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 25))
def test_the_stated_resolution_holds(seed: int, steps: int) -> None:
    a = symmetric(40, seed)
    found = lanczos_quadrature(lambda v: v @ a, a[0], steps, 1, seed=seed)
    values, weights = measure(a, seed)
    distance = wasserstein_distance(found.nodes, values, found.weights, weights)
    assert distance <= np.pi * np.ptp(values) / (4 * steps)
    assert found.resolution == pytest.approx(np.pi * np.ptp(found.nodes) / (4 * steps))


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 20))
def test_cumulated_weights_enclose_the_measure(seed: int, steps: int) -> None:
    # Chebyshev, Markov and Stieltjes: Σ_{j<i} w_j ≤ μ(−∞, θ_i) ≤ Σ_{j≤i} w_j.
    a = symmetric(30, seed)
    found = lanczos_quadrature(lambda v: v @ a, a[0], steps, 1, seed=seed)
    values, weights = measure(a, seed)
    up_to = np.cumsum(found.weights)
    for i, node in enumerate(found.nodes):
        below = weights[values < node].sum()
        assert up_to[i] - found.weights[i] - 1e-9 <= below <= up_to[i] + 1e-9


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_a_small_net_within_statistical_bounds(matrix: Matrix) -> None:
    setup = small_net_setup(examples=5)  # one batch
    surface, data = surface_of(setup), setup.datasets["a"]
    size = surface.size
    dense = surface.products(data, torch.eye(size, dtype=torch.float64), matrix=matrix)
    values, vectors = torch.linalg.eigh((dense + dense.T) / 2)
    probes, edge = 40, values.abs().max().item() / 10
    found = lanczos_quadrature(lambda v: v @ dense, dense[0], 30, probes, seed=0)
    few = density(surface, data, 30, 1, matrix=matrix)
    first = (found.probe == 0) & (found.nodes > edge)
    assert few.share(edge, np.inf)[0] == pytest.approx(found.weights[first].sum(), rel=1e-6)
    assert (few.products, found.products) == (30, 30 * probes)
    assert found.weights.sum() == pytest.approx(probes)
    assert found.nodes.min() >= values[0] - 1e-12
    assert found.nodes.max() <= values[-1] + 1e-12
    # The share above an edge is uᵀ(projector)u of random signs over P: Hutchinson's variance again.
    above = vectors[:, values > edge]
    projector = above @ above.T
    variance = 2 * (projector.square().sum() - projector.diagonal().square().sum()).item()
    share, error = found.share(edge, np.inf)
    assert error > 0
    assert abs(share - above.shape[1] / size) <= 5 * (variance / probes) ** 0.5 / size
    mean, spread = found.mean()
    assert abs(mean - values.mean().item()) <= 5 * spread


def test_all_steps_find_all_eigenvalues() -> None:
    a = symmetric(12, 3)
    found = lanczos_quadrature(lambda v: v @ a, a[0], 50, 2, seed=0)
    values, weights = measure(a, 0)
    first = found.probe == 0
    np.testing.assert_allclose(found.nodes[first], values, rtol=1e-9)
    np.testing.assert_allclose(found.weights[first], weights, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.nodes[~first], values, rtol=1e-9)


def test_exhausted_spaces_end_there() -> None:
    a = torch.diag(torch.tensor([3.0, 3.0, 3.0, -1.0], dtype=torch.float64))
    found = lanczos_quadrature(lambda v: v @ a, a[0], 4, 3, seed=0)
    np.testing.assert_allclose(found.nodes.reshape(3, 2), [[-1, 3]] * 3, atol=1e-12)
    np.testing.assert_allclose(found.weights.reshape(3, 2), [[0.25, 0.75]] * 3, atol=1e-12)
    nothing = lanczos_quadrature(torch.zeros_like, a[0], 4, 2, seed=0)
    np.testing.assert_array_equal(nothing.nodes, [0, 0])
    np.testing.assert_array_equal(nothing.weights, [1, 1])
    assert nothing.resolution == 0


def test_smoothing_by_hand() -> None:
    a = torch.diag(torch.tensor([3.0, 3.0, 3.0, -1.0], dtype=torch.float64))
    found = lanczos_quadrature(lambda v: v @ a, a[0], 4, 3, seed=0)
    grid = np.linspace(-4, 6, 101)
    expected = 0.25 * norm.pdf(grid, -1, 0.5) + 0.75 * norm.pdf(grid, 3, 0.5)
    np.testing.assert_allclose(found.smoothed(grid, 0.5), expected, rtol=1e-9)


def test_the_same_seed_gives_the_same_density() -> None:
    setup = small_net_setup(examples=5)  # one batch
    surface, data = surface_of(setup), setup.datasets["a"]
    first, again, other = (density(surface, data, 4, 2, seed=s) for s in (1, 1, 2))
    assert first.nodes.tobytes() == again.nodes.tobytes()
    assert first.weights.tobytes() == again.weights.tobytes()
    assert first.nodes.tobytes() != other.nodes.tobytes()


def test_losses_that_do_not_repeat_are_refused() -> None:
    setup = small_net_setup(examples=5)  # one batch

    def noisy(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(nn.functional.dropout(batch[0])), batch[1], reduction="none")

    setup.loss = noisy  # type: ignore[method-assign]
    surface, data = surface_of(setup), setup.datasets["a"]
    calls = (density, trace, spectrum, lambda *where: quadratic_expansion(*where, surface.zeros(1)))
    for call in calls:
        with pytest.raises(InputError, match="differs from one evaluation to the next"):
            call(surface, data)
    setup.loss = lambda model, batch: model(batch[0]).sum(1) * torch.nan  # type: ignore[method-assign]
    with pytest.raises(InputError, match="the gradient at the base is not finite"):
        density(surface_of(setup), data)


def test_nothing_is_no_density() -> None:
    with pytest.raises(InputError, match="at least 1 step and 1 probe, got 0 and 1"):
        lanczos_quadrature(torch.zeros_like, torch.zeros(3), 0, 1, seed=0)
