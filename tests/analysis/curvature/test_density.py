"""Lanczos quadrature against dense eigenvalues: exact moments, proven distance, statistical errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_net_setup import SmallNetSetup, small_net_setup
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, wasserstein_distance
from torch import Tensor, nn

from analysis.curvature import LossSurface, Matrix, density, quadratic_expansion, spectrum, trace
from analysis.curvature.spectrum import lanczos_quadrature, random_signs
from m2m.errors import InputError
from m2m.setups.protocol import Batch


def surface_of(setup: SmallNetSetup) -> LossSurface:
    return LossSurface(setup, setup.base_state(Path()))


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


def test_the_same_seed_gives_the_same_bits() -> None:
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
