"""Hutchinson's estimate and Hutch++ against dense traces, within the errors that theory gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import SmallNetSetup, small_net_setup
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from analysis.curvature import LossSurface, Matrix, trace
from analysis.curvature.spectrum import hutch_plus_plus, hutchinson, random_signs
from m2m.errors import InputError
from m2m.setups.protocol import Examples


def surface_of(setup: SmallNetSetup) -> LossSurface:
    return LossSurface(setup, setup.base_state(Path()))


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


def test_the_same_seed_gives_the_same_bits() -> None:
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
