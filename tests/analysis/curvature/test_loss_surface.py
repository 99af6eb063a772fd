"""Gradients and Hessian-vector products against dense Hessians, closed forms and differences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import SmallNetSetup, small_net_setup
from torch import Tensor, nn
from torch.func import functional_call

from analysis.curvature import LossSurface
from analysis.curvature.loss_surface import inner, norms
from analysis.trained_run import study_setup
from m2m.errors import CheckpointError, InputError
from m2m.setups.protocol import Batch, Examples, trainable


def at_base(setup: SmallNetSetup) -> LossSurface:
    return LossSurface(setup, setup.base_state(Path()))


def dense(setup: SmallNetSetup, examples: Examples, at: Tensor) -> Tensor:
    """Return the Hessian of the mean loss by torch's own functional route. [P, P]"""
    model = setup.build()
    base = setup.base_state(Path())
    names = list(trainable(model))

    def mean_loss(vector: Tensor) -> Tensor:
        sizes = [base[name].numel() for name in names]
        pieces = zip(names, vector.split(sizes), strict=True)
        moved = {name: base[name] + part.view(base[name].shape) for name, part in pieces}
        logits = functional_call(model, {**base, **moved}, (examples.tensors[0],))
        return nn.functional.cross_entropy(logits, examples.tensors[1])

    hessian: Tensor = torch.autograd.functional.hessian(mean_loss, at)
    return hessian


def random_rows(rows: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("away", [False, True])
def test_products_are_those_of_the_dense_hessian(away: bool) -> None:
    setup = small_net_setup()
    surface, examples = at_base(setup), setup.datasets["b"]
    x = 0.3 * random_rows(1, surface.size, seed=1)[0] if away else None
    vectors = random_rows(4, surface.size)
    hessian = dense(setup, examples, x if away else surface.zeros())
    got = surface.products(examples, vectors, at=x)
    assert 150 < surface.size < 250
    assert (got - vectors @ hessian).norm() <= 1e-10 * (vectors @ hessian).norm()


def test_a_quadratic_in_closed_form() -> None:
    setup = linear_setup(seed=4, examples=11, width=6)  # batches of 4, 4 and 3: weighted by their size
    base = setup.base_state(Path())
    surface, examples = LossSurface(setup, base), setup.datasets["a"]
    x, y = examples.tensors
    hessian, vectors = x.T @ x / 11, random_rows(3, 6)
    torch.testing.assert_close(surface.products(examples, vectors), vectors @ hessian)
    torch.testing.assert_close(surface.gradient(examples), x.T @ (x @ base["theta"] - y) / 11)
    assert surface.value(examples) == pytest.approx(((x @ base["theta"] - y) ** 2).mean().item() / 2)


def assert_limit_of_differences(surface: LossSurface, examples: Examples, v: Tensor, h: float) -> None:
    """Central differences of gradients are h² c + O(h⁴) off, so halving h takes away three quarters."""
    product = surface.products(examples, v[None])[0]

    def off(step: float) -> Tensor:
        up, down = (surface.gradient(examples, sign * step * v) for sign in (1, -1))
        return (up - down) / (2 * step) - product

    assert 0 < off(h).norm() < 0.1 * product.norm()
    assert (off(h) - 4 * off(h / 2)).norm() <= 0.1 * off(h).norm()


def test_products_are_differences_of_gradients() -> None:
    setup = small_net_setup()
    surface = at_base(setup)
    v = random_rows(1, surface.size)[0]
    assert_limit_of_differences(surface, setup.datasets["a"], v, 1e-2)


def test_the_module_is_at_the_base_again() -> None:
    setup = small_net_setup()
    surface, examples = at_base(setup), setup.datasets["a"]
    before = surface.value(examples)
    assert surface.value(examples, at=random_rows(1, surface.size)[0]) != before
    assert surface.value(examples) == before


def test_a_loss_without_curvature_has_zero_products() -> None:
    setup = small_net_setup()
    setup.loss = lambda model, batch: batch[0].sum(1) * sum(p.sum() for p in model.parameters())  # type: ignore[method-assign]
    surface = at_base(setup)
    assert not surface.products(setup.datasets["a"], random_rows(2, surface.size)).any()


def test_displacement_is_the_task_vector_over_what_is_trained() -> None:
    setup = small_net_setup()
    base = setup.base_state(Path())
    surface = LossSurface(setup, base)
    moved = {name: tensor + 0.5 for name, tensor in base.items()}
    torch.testing.assert_close(
        surface.displacement(moved), torch.full((surface.size,), 0.5, dtype=torch.float64)
    )
    with pytest.raises(CheckpointError, match=r"tensor head.weight: got nothing, wanted \[3, 10\]"):
        surface.displacement({name: t for name, t in moved.items() if name != "head.weight"})


def test_a_model_that_draws_random_numbers_is_refused() -> None:
    setup = small_net_setup()

    def noisy(model: nn.Module, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(nn.functional.dropout(batch[0])), batch[1], reduction="none")

    setup.loss = noisy  # type: ignore[method-assign]
    with pytest.raises(InputError, match="differs from one evaluation to the next"):
        at_base(setup).check_deterministic(setup.datasets["a"])


def test_float64_study_of_a_float32_set_up() -> None:
    setup = small_net_setup()
    base = {name: tensor.float() for name, tensor in setup.base_state(Path()).items()}
    exact = LossSurface(study_setup(setup, 5), study_setup(setup, 5).cast(base))
    x, label = setup.datasets["a"].tensors
    few = exact.setup.datasets["a"]
    assert torch.equal(few.tensors[0], x[[0, 2, 4, 7, 9]])
    narrow = Examples((few.tensors[0].float(), label[[0, 2, 4, 7, 9]]))
    assert exact.gradient(narrow).dtype == torch.float64


def test_inner_products_over_blocks() -> None:
    rows = torch.arange(6, dtype=torch.float32).view(2, 3).repeat_interleave(500_000, dim=1)
    expected = 500_000 * torch.tensor([[5.0, 14.0], [14.0, 50.0]], dtype=torch.float64)
    assert torch.equal(inner(rows, rows), expected)
    assert torch.equal(norms(rows), expected.diagonal().sqrt())


def test_attention_and_layer_norm_have_products() -> None:
    from m2m.setups.byte_gpt import ByteGPT, Shape

    class TextSetup(SmallNetSetup):
        def build(self) -> nn.Module:
            return ByteGPT(Shape(layers=1, width=8, heads=2, context=6)).double()

        def loss(self, model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch[0][:, :-1])
            nats = nn.functional.cross_entropy(
                logits.flatten(0, 1), batch[0][:, 1:].flatten(), reduction="none"
            )
            return nats.view(len(batch[0]), -1).mean(1)

    tokens = Examples((torch.randint(0, 256, (7, 7), generator=torch.Generator().manual_seed(0)),))
    setup = TextSetup({"a": tokens}, {})
    model = setup.build()
    model.initialise(0)  # type: ignore[operator]
    surface = LossSurface(setup, model.state_dict())
    u, v = random_rows(2, surface.size)
    hu, hv = surface.products(tokens, torch.stack([u, v]))
    # H is symmetric: uᵀHv = vᵀHu up to rounding of sums of P terms.
    assert u @ hv == pytest.approx((v @ hu).item(), rel=1e-10)
    assert_limit_of_differences(surface, tokens, v, 1e-3)
