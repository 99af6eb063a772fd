"""curvlinops as a second opinion on products, where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.small_net_setup import small_net_setup
from torch import nn

from analysis.curvature import LossSurface, Matrix
from m2m.setups.protocol import load_state, trainable


def tanh_net() -> nn.Module:
    # Its Hessians need forward-mode derivatives, which SiLU's own derivative lacks in torch.
    layers = nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3, bias=False)
    return nn.Sequential(*layers).double()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its import uses torch.jit.script
@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_products_agree(matrix: Matrix) -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="optional oracle: curvlinops is not installed")
    setup = small_net_setup(examples=5)
    setup.build = tanh_net  # type: ignore[method-assign]
    setup.inputs = lambda batch: {"input": batch[0]}  # type: ignore[method-assign]
    base = setup.base_state(Path())
    surface, data = LossSurface(setup, base), setup.datasets["a"]
    model = load_state(tanh_net(), base)
    kind = {"hessian": curvlinops.HessianLinearOperator, "ggn": curvlinops.GGNLinearOperator}[matrix]
    loss, parameters = nn.CrossEntropyLoss(), list(trainable(model).values())
    operator = kind(model, loss, parameters, [data.tensors], check_deterministic=False)
    vectors = torch.randn(3, surface.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = (operator @ vectors.T).T
    assert (surface.products(data, vectors, matrix=matrix) - theirs).norm() <= 1e-10 * theirs.norm()
