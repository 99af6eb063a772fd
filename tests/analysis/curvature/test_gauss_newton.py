"""Gauss-Newton products against dense Jacobians; never negative; the Hessian where models are linear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.linear_setup import linear_setup
from helpers.small_net_setup import SmallNetSetup, small_net_setup
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call

from analysis.curvature import LossSurface
from analysis.trained_run import study_setup
from m2m.errors import ConfigError, InputError
from m2m.setups.byte_gpt import ByteGPT, Shape
from m2m.setups.protocol import Batch, Examples, Setup, trainable

CLASSES = 3


def at_base(setup: Setup) -> LossSurface:
    return LossSurface(setup, setup.base_state(Path()))


def random_rows(rows: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense_ggn(setup: Setup, examples: Examples, at: Tensor) -> Tensor:
    """Return Σ_e J_eᵀ H_e J_e / E with torch.func's Jacobians and Hessians, example by example. [P, P]"""
    model, base = setup.build(), setup.base_state(Path())
    names = list(trainable(model))

    def logits(vector: Tensor, batch: Batch) -> Tensor:
        pieces = zip(names, vector.split([base[name].numel() for name in names]), strict=True)
        moved = {name: base[name] + part.view(base[name].shape) for name, part in pieces}
        out: Tensor = functional_call(model, {**base, **moved}, (), setup.inputs(batch))
        return out

    total = torch.zeros(len(at), len(at), dtype=torch.float64)
    for e in range(len(examples)):
        one = examples.take(torch.tensor([e]))
        slopes = jacobian(lambda x, one=one: logits(x, one), at).reshape(-1, len(at))
        middle = hessian(lambda z, one=one: setup.judge(z, one)["loss"].sum(), logits(at, one))
        total += slopes.T @ middle.reshape(len(slopes), len(slopes)) @ slopes
    return total / len(examples)


@pytest.mark.parametrize("away", [False, True])
def test_products_are_those_of_the_dense_matrix(away: bool) -> None:
    setup = small_net_setup()
    surface, examples = at_base(setup), setup.datasets["b"]
    x = 0.3 * random_rows(1, surface.size, seed=1)[0] if away else None
    vectors = random_rows(4, surface.size)
    wanted = vectors @ dense_ggn(setup, examples, x if x is not None else surface.zeros())
    got = surface.products(examples, vectors, at=x, matrix="ggn")
    assert (got - wanted).norm() <= 1e-10 * wanted.norm()
    # It is another matrix than the Hessian here, so the test can fail.
    assert (surface.products(examples, vectors, at=x) - wanted).norm() > 0.01 * wanted.norm()


@settings(max_examples=4)
@given(st.integers(0, 10**6))
def test_it_is_never_negative_though_the_hessian_is(seed: int) -> None:
    setup = small_net_setup(seed, examples=4)
    surface, examples = at_base(setup), setup.datasets["a"]
    eye = torch.eye(surface.size, dtype=torch.float64)
    x = 0.5 * random_rows(1, surface.size, seed)[0]
    ggn, full = (surface.products(examples, eye, at=x, matrix=m) for m in ("ggn", "hessian"))
    values = torch.linalg.eigvalsh((ggn + ggn.T) / 2)
    # Rounding of a symmetric matrix moves eigenvalues by at most about P u ‖G‖.
    assert values[0] >= -surface.size * 2.0**-52 * values[-1]
    assert (ggn - ggn.T).norm() <= 1e-12 * ggn.norm()
    assert torch.linalg.eigvalsh((full + full.T) / 2)[0] < -1e-3 * values[-1]


def test_it_is_the_hessian_of_models_linear_in_their_parameters() -> None:
    squares = linear_setup(seed=4, examples=11, width=6)
    softmax = small_net_setup()
    softmax.build = lambda: nn.Linear(6, CLASSES, dtype=torch.float64)  # type: ignore[method-assign]
    softmax.inputs = lambda batch: {"input": batch[0]}  # type: ignore[method-assign]
    for setup in (squares, softmax):
        surface, examples = at_base(setup), setup.datasets["a"]
        vectors = random_rows(4, surface.size)
        full, ggn = (surface.products(examples, vectors, matrix=m) for m in ("hessian", "ggn"))
        assert (full - ggn).norm() <= 1e-13 * full.norm()


class TextSetup(SmallNetSetup):
    """A byte GPT, as the language set-up judges it; its output may be wrapped as Hugging Face's are."""

    wrapped = False

    def build(self) -> nn.Module:
        model = ByteGPT(Shape(layers=1, width=8, heads=2, context=5)).double()
        model.initialise(0)
        return model

    def base_state(self, cache: Path, progress: object = None) -> dict[str, Tensor]:
        return {name: 10 * tensor for name, tensor in self.build().state_dict().items()}

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {"tokens": batch[0][:, :-1]}

    def judge(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        logits = output if isinstance(output, Tensor) else output.logits
        nats = nn.functional.cross_entropy(logits.transpose(1, 2), batch[0][:, 1:], reduction="none")
        return {"loss": nats.mean(1)}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.judge(model(**self.inputs(batch)), batch)["loss"]


class Wrapped(ByteGPT):
    def forward(self, tokens: Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(tokens))


def test_attention_and_wrapped_logits() -> None:
    tokens = Examples((torch.randint(0, 256, (6, 6), generator=torch.Generator().manual_seed(0)),))
    setup = TextSetup({"a": tokens}, {})
    surface = at_base(setup)
    v = random_rows(2, surface.size)
    got = surface.products(tokens, v, matrix="ggn")
    wrapped = Wrapped(Shape(layers=1, width=8, heads=2, context=5)).double()
    setup.build = lambda: wrapped  # type: ignore[method-assign]
    other = LossSurface(setup, TextSetup({"a": tokens}, {}).base_state(Path()))
    assert torch.equal(other.products(tokens, v, matrix="ggn"), got)
    # vᵀGv = mean of (Jv)ᵀ H_out (Jv), J v by central differences of the logits.
    base = TextSetup({"a": tokens}, {}).base_state(Path())
    model, names = TextSetup({"a": tokens}, {}).build(), list(base)

    def logits(step: float) -> Tensor:
        pieces = zip(names, v[0].split([base[name].numel() for name in names]), strict=True)
        moved = {name: base[name] + step * part.view(base[name].shape) for name, part in pieces}
        out: Tensor = functional_call(model, moved, (tokens.tensors[0][:, :-1],))
        return out.detach()

    pushed, p = (logits(1e-6) - logits(-1e-6)) / 2e-6, logits(0).softmax(-1)
    middle = (p * pushed.square()).sum(-1) - (p * pushed).sum(-1).square()
    assert (v[0] @ got[0]).item() == pytest.approx(middle.mean().item(), rel=1e-6)


def test_chunks_of_the_data_add_up() -> None:
    setup = small_net_setup()
    v, results = None, []
    for size in (1, 5, 12):
        setup.batch_size = size
        surface = at_base(setup)
        v = random_rows(2, surface.size)
        results.append(surface.products(setup.datasets["a"], v, matrix="ggn"))
    for other in results[1:]:
        assert (other - results[0]).norm() <= 1e-14 * results[0].norm()


def test_images_masked_to_their_own_classes() -> None:
    setup = small_net_setup()

    def judge(output: Tensor, batch: Batch) -> dict[str, Tensor]:
        masked = output.masked_fill(torch.tensor([False, False, True]), -torch.inf)
        return {"loss": nn.functional.cross_entropy(masked, batch[1] % 2, reduction="none")}

    setup.judge = judge  # type: ignore[method-assign]
    surface, examples = at_base(setup), setup.datasets["a"]
    v = random_rows(1, surface.size)
    wanted = v @ dense_ggn(setup, examples, surface.zeros())
    assert (surface.products(examples, v, matrix="ggn") - wanted).norm() <= 1e-10 * wanted.norm()


def test_a_loss_linear_in_the_output_has_a_zero_matrix() -> None:
    setup = small_net_setup()
    setup.judge = lambda output, batch: {"loss": output.sum(1)}  # type: ignore[method-assign]
    surface = at_base(setup)
    assert not surface.products(setup.datasets["a"], random_rows(1, surface.size), matrix="ggn").any()


Judge = Callable[[Any, Batch], dict[str, Tensor]]


def plain(output: Tensor, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(output, batch[1], reduction="none")


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        (lambda z, batch: {"accuracy": plain(z, batch)}, r"gives \['accuracy'\], no metric 'loss'"),
        (lambda z, batch: {"loss": plain(z.detach(), batch)}, "'loss' is not differentiable in the model's"),
        (lambda z, batch: {"loss": plain(z, batch) + 0.1}, "another function than its training loss"),
        (lambda z, batch: {"loss": plain(z, batch).mean()}, "another function than its training loss"),
    ],
)
def test_why_a_set_up_has_none(judge: Judge, why: str) -> None:
    setup = small_net_setup()
    setup.loss = lambda model, batch: plain(model(batch[0]), batch)  # type: ignore[method-assign]
    setup.judge = judge  # type: ignore[method-assign]
    surface = at_base(setup)
    with pytest.raises(InputError, match=rf"no Gauss-Newton matrix, take the Hessian: .*{why}"):
        surface.products(setup.datasets["a"], surface.zeros(1), matrix="ggn")


def test_models_without_logits_and_unknown_matrices() -> None:
    setup = small_net_setup()
    surface, data = at_base(setup), setup.datasets["a"]
    with pytest.raises(ConfigError, match="must be one of hessian, ggn, got 'fisher'"):
        surface.products(data, surface.zeros(1), matrix="fisher")  # type: ignore[arg-type]
    setup.loss = lambda model, batch: plain(model(batch[0])[0], batch)  # type: ignore[method-assign]
    surface._model.register_forward_hook(lambda module, args, output: (output, output))
    with pytest.raises(InputError, match="the model returns tuple, neither a tensor nor logits"):
        surface.products(data, surface.zeros(1), matrix="ggn")


def test_float64_study() -> None:
    setup = small_net_setup()
    narrow = {name: tensor.float() for name, tensor in setup.base_state(Path()).items()}
    exact = study_setup(setup, 5)
    surface = LossSurface(exact, exact.cast(narrow))
    data = exact.datasets["a"]
    floats = Examples((data.tensors[0].float(), data.tensors[1]))
    got = surface.products(floats, random_rows(1, surface.size), matrix="ggn")
    assert got.dtype == torch.float64
