"""Lanczos against dense Hessians."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import SmallNetSetup, small_net_setup

from analysis.curvature import LossSurface, spectral_norm, spectrum
from m2m.errors import InputError


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


def test_the_same_seed_gives_the_same_bits() -> None:
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
