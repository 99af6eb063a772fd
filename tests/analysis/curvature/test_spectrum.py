"""Lanczos and Hutchinson against dense Hessians; curvlinops as a second opinion where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import SmallNetSetup, small_net_setup

from analysis.curvature import Landscape, spectral_norm, spectrum, trace
from m2m.errors import InputError
from m2m.setups.protocol import trainable


def landscape_of(setup: SmallNetSetup) -> Landscape:
    return Landscape(setup, setup.base_state(Path()))


def test_both_ends_of_the_spectrum() -> None:
    setup = small_net_setup()
    landscape, data = landscape_of(setup), setup.datasets["a"]
    dense = landscape.products(data, torch.eye(landscape.size, dtype=torch.float64)).numpy()
    exact = np.linalg.eigvalsh((dense + dense.T) / 2)
    found = spectrum(landscape, data, 4, tolerance=1e-10)
    np.testing.assert_allclose(found.eigenvalues, exact[[0, 1, -2, -1]], rtol=1e-8)
    assert np.all(found.residuals < 1e-6 * np.abs(exact).max())
    assert found.norm == pytest.approx(np.abs(exact).max(), rel=1e-5)
    assert found.norm >= np.abs(exact).max()


def test_the_same_seed_gives_the_same_bits() -> None:
    setup = small_net_setup()
    landscape, data = landscape_of(setup), setup.datasets["a"]
    first, again = (spectrum(landscape, data, 2, seed=1) for _ in range(2))
    assert first.eigenvalues.tobytes() == again.eigenvalues.tobytes()
    assert trace(landscape, data, 3, seed=1) == trace(landscape, data, 3, seed=1)


def test_norm_of_a_zero_matrix() -> None:
    assert spectral_norm(torch.zeros_like, torch.zeros(5, dtype=torch.float64)) == 0


def test_the_trace_lies_within_its_error() -> None:
    setup = small_net_setup()
    landscape, data = landscape_of(setup), setup.datasets["a"]
    dense = landscape.products(data, torch.eye(landscape.size, dtype=torch.float64))
    found = trace(landscape, data, 64)
    # Rademacher probes: variance 2·Σ_{i≠j} H_ij² (Hutchinson); five standard errors.
    exact_error = np.sqrt(2 * (dense.square().sum() - dense.diagonal().square().sum()).item() / 64)
    assert found.standard_error == pytest.approx(exact_error, rel=0.5)
    assert abs(found.value - dense.trace().item()) <= 5 * exact_error


def test_a_diagonal_hessian_has_an_exact_trace() -> None:
    setup = linear_setup(seed=0)
    x = torch.diag(torch.arange(1.0, 6.0, dtype=torch.float64))
    data = type(setup.datasets["a"])((x, x.sum(1)))
    found = trace(Landscape(setup, setup.base_state(Path())), data, 2)
    assert (found.value, found.standard_error) == (pytest.approx(11, rel=1e-14), pytest.approx(0, abs=1e-14))


def test_what_cannot_be_asked() -> None:
    setup = linear_setup(seed=0)
    landscape = Landscape(setup, setup.base_state(Path()))
    with pytest.raises(InputError, match="wanted 5 eigenvalues of a 5 × 5 Hessian"):
        spectrum(landscape, setup.datasets["a"], 5)
    with pytest.raises(InputError, match="at least 2 probes"):
        trace(landscape, setup.datasets["a"], 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its import uses torch.jit.script
def test_curvlinops_agrees() -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="optional oracle: curvlinops is not installed")
    setup = linear_setup(seed=5, examples=8)
    base = setup.base_state(Path())
    model = setup.build()
    model.load_state_dict(base)
    data = setup.datasets["a"]
    loss = torch.nn.MSELoss(reduction="mean")
    operator = curvlinops.HessianLinearOperator(
        model, loss, list(trainable(model).values()), [data.tensors], check_deterministic=False
    )
    vector = torch.arange(1.0, 6.0, dtype=torch.float64)
    ours = Landscape(setup, base).products(data, vector[None])[0]
    torch.testing.assert_close(operator @ vector / 2, ours)  # its loss lacks our factor ½
