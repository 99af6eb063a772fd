"""γ, interactions and the quadratic model against closed forms and dense Hessians; both routes agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import small_net_setup
from hypothesis import given
from hypothesis import strategies as st

from analysis.curvature import (
    LossSurface,
    QuadraticExpansion,
    curvature,
    products,
    quadratic_expansion,
    second_differences,
)
from analysis.curvature.quadratic import noise_level
from analysis.interaction import second_order
from m2m.errors import InputError, MixtureError
from m2m.setups.protocol import Examples


def closed_form(data: Examples, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return gradient and Hessian of least squares."""
    x, y = data.tensors
    return x.T @ (x @ theta - y) / len(x), x.T @ x / len(x)


def test_tables_of_quadratics_in_closed_form() -> None:
    setup = linear_setup(seed=7, examples=6)
    base = setup.base_state(Path())
    tasks = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tables = curvature(LossSurface(setup, base), tasks)
    pairs = [closed_form(data, base["theta"]) for data in setup.datasets.values()]
    g, h = torch.stack([g for g, _ in pairs]), torch.stack([h for _, h in pairs])
    bent = torch.einsum("kab,jb->kja", h, g).norm(dim=2)
    gamma = (bent / g.norm(dim=1)) / (bent / g.norm(dim=1)).diagonal()[:, None]
    np.testing.assert_allclose(tables.gamma, gamma, rtol=1e-12)
    np.testing.assert_allclose(np.diag(tables.gamma), 1)
    np.testing.assert_allclose(
        tables.interactions, torch.einsum("ia,kab,jb->kij", tasks, h, tasks), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(tables.slopes, g @ tasks.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tables.bent_tasks, torch.einsum("kab,jb->kja", h, tasks).norm(dim=2))
    assert tables.asymmetry < 1e-14


class Counted:
    """Counts the products that are made, and the graphs that are built for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.products = self.graphs = 0
        prepare = products.hessian

        def counted(loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> products.Multiply:
            multiply = prepare(loss, parameters)
            self.graphs += 1

            def count(vector: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
                self.products += 1
                return multiply(vector)

            return count

        monkeypatch.setattr("analysis.curvature.loss_surface.hessian", counted)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_table_of_all_pairs_costs_as_many_products_and_no_more(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    setup = linear_setup(seed=7, names="abcde"[:count], examples=6)  # batches of 4 and 2
    surface, counted = LossSurface(setup, setup.base_state(Path())), Counted(monkeypatch)
    second_order(surface)  # H_k g_j
    assert (counted.products, counted.graphs) == (2 * count**2, 2 * count)
    curvature(surface, torch.eye(count, 5, dtype=torch.float64))  # H_k g_j and H_k τ_j
    assert (counted.products, counted.graphs) == (6 * count**2, 6 * count)
    counted.products = 0
    quadratic_expansion(surface, setup.datasets["a"], torch.eye(count, 5, dtype=torch.float64))
    assert counted.products == 2 * count


def test_decoupled_domains_have_the_identity() -> None:
    setup = linear_setup(seed=1)
    rows = {"a": [1.0, 0, 0, 0, 0], "b": [0, 2.0, 0, 0, 0], "c": [0, 0, 0, 3.0, 0]}
    setup.datasets = {
        name: Examples((torch.tensor([row], dtype=torch.float64), torch.ones(1, dtype=torch.float64)))
        for name, row in rows.items()
    }
    surface = LossSurface(setup, setup.base_state(Path()))
    np.testing.assert_array_equal(curvature(surface, torch.eye(3, 5, dtype=torch.float64)).gamma, np.eye(3))


@given(st.permutations(["a", "b", "c"]))
def test_relabelling_permutes_the_tables(order: list[str]) -> None:
    setup = linear_setup(seed=9, examples=6)
    surface = LossSurface(setup, setup.base_state(Path()))
    tasks = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    index = ["abc".index(name) for name in order]
    whole, permuted = curvature(surface, tasks), curvature(surface, tasks[index], order)
    np.testing.assert_allclose(permuted.gamma, whole.gamma[np.ix_(index, index)], rtol=1e-12)
    np.testing.assert_allclose(
        permuted.interactions, whole.interactions[np.ix_(index, index, index)], rtol=1e-10, atol=1e-12
    )


def test_mismatched_or_flat_input_is_refused() -> None:
    setup = linear_setup(seed=7)
    surface = LossSurface(setup, setup.base_state(Path()))
    with pytest.raises(InputError, match="got 2 task vectors for 3 datasets"):
        curvature(surface, surface.zeros(2))
    x = setup.datasets["b"].tensors[0]
    setup.datasets = {**setup.datasets, "b": Examples((x, x @ setup.base_state(Path())["theta"]))}
    with pytest.raises(InputError, match="dataset 'b': the gradient at the base is zero"):
        curvature(surface, surface.zeros(3))


def test_a_quadratic_loss_is_predicted_everywhere() -> None:
    setup = linear_setup(seed=3)
    surface = LossSurface(setup, setup.base_state(Path()))
    tasks = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = setup.targets["target"].validation
    model = quadratic_expansion(surface, target, tasks)
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=20)
    truth = [surface.value(target, at=torch.from_numpy(row) @ tasks) for row in weights]
    np.testing.assert_allclose(model.predict(weights), truth, rtol=1e-12)
    with pytest.raises(MixtureError, match=r"weights must be \[M, 3\], got shape \[2, 2\]"):
        model.predict([[0.5, 0.5], [1, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_both_routes_agree_within_the_stated_error(seed: int) -> None:
    setup = small_net_setup(seed)
    surface = LossSurface(setup, setup.base_state(Path()))
    generator = torch.Generator().manual_seed(seed)
    tasks = 0.2 * torch.randn(3, surface.size, dtype=torch.float64, generator=generator)
    target = setup.targets["target"].validation
    backward = quadratic_expansion(surface, target, tasks)
    calls = []

    def loss(alpha: np.ndarray) -> float:
        calls.append(alpha)
        return surface.value(target, at=torch.from_numpy(alpha) @ tasks)

    forward = second_differences(loss, 3)
    assert np.all(np.abs(forward.model.curvature - backward.curvature) <= forward.curvature_error)
    assert np.all(np.abs(forward.model.slope - backward.slope) <= forward.slope_error)
    assert forward.model.constant == backward.constant
    assert forward.evaluations == len(calls)
    # The statement says something: the error is a small part of the largest entry.
    assert forward.curvature_error.max() < 0.2 * np.abs(backward.curvature).max()


def test_a_quartic_is_extrapolated_exactly() -> None:
    # Its differences are D + c h², so the extrapolation leaves rounding only, and the stated error is small.
    def loss(alpha: np.ndarray) -> float:
        return float(1 + alpha[0] + alpha[0] * alpha[1] + (alpha[0] + 2 * alpha[1]) ** 4 + alpha[1] ** 3)

    found = second_differences(loss, 2, 1.0)
    np.testing.assert_allclose(found.model.curvature, [[0, 1], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(found.model.slope, [1, 0], atol=1e-12)
    assert found.curvature_error.max() < 1e-9


@pytest.mark.parametrize("step", [1e-5, 1e-4, 1e-3])
def test_small_steps_own_up_to_their_rounding(step: float) -> None:
    truth = np.array([[2.0, 1.0], [1.0, 3.0]])
    noise = np.random.default_rng(0)

    def loss(alpha: np.ndarray) -> float:
        return float(5 + alpha @ truth @ alpha / 2 + 1e-9 * noise.standard_normal())

    found = second_differences(loss, 2, step)
    assert np.all(np.abs(found.model.curvature - truth) <= found.curvature_error)
    assert 1e-10 < found.noise < 1e-8


def test_noise_is_not_below_the_last_place() -> None:
    assert noise_level(lambda alpha: 1.0, 2, 0.25) == np.spacing(1.0) / 2


def test_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="step above 0"):
        second_differences(lambda alpha: 0.0, 2, 0.0)


def test_the_quadratic_model_by_hand() -> None:
    model = QuadraticExpansion(1.0, np.array([1.0, -1.0]), np.array([[2.0, 1.0], [1.0, 4.0]]))
    np.testing.assert_allclose(model.predict([[1, 0], [0, 1], [0.5, 0.5]]), [3.0, 2.0, 2.0])
