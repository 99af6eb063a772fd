"""adam_merge: θ₀ + M⁻¹ Σ p_n M_n τ_n, its laws, its stream, and what it says of moments that do not fit."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
import torch
from helpers.merge_cases import (
    State,
    assert_is_twin,
    bits,
    make_recipe,
    make_states,
    write_models,
    write_moments,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.locate import MOMENTS_NAME
from m2m.checkpoint.manifest import read_manifest
from m2m.errors import CheckpointError, RecipeError
from m2m.merging import merge
from m2m.merging.methods import METHODS, Inputs, settings_of

U = 2.0**-53
ADAM = METHODS["adam_merge"]
SEEDS, COUNTS = st.integers(0, 999), st.integers(1, 5)


def adam(base: Tensor, experts: list[Tensor], moments: list[Tensor], **values: object) -> Tensor:
    settings = settings_of(ADAM, len(experts), tensor="w", **values)
    return ADAM.reference(Inputs(experts, base, moments), settings, experts[0].dtype)


def drawn(
    seed: int, count: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """A base tensor, experts near it, and moments over sixteen orders of magnitude, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(40, generator=generator, dtype=torch.float64)
    experts = [base + 0.1 * torch.randn(40, generator=generator, dtype=torch.float64) for _ in range(count)]
    moments = [10.0 ** (-16 * torch.rand(40, generator=generator, dtype=torch.float64)) for _ in range(count)]
    moments = [torch.where(torch.rand(40, generator=generator) < 0.1, 0.0, own) for own in moments]
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    return base.to(dtype), [expert.to(dtype) for expert in experts], [own.to(kept) for own in moments]


def added(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum(0)


def bound(
    base: Tensor, experts: list[Tensor], moments: list[Tensor], shares: list[float], eps: float
) -> Tensor:
    """How far float64 may lie from the exact result.

    Of each term p (M_n/M) τ: p has 2 roundings (fsum, quotient), M_n 2, M at most (2 + 1 + N)/2 under the
    root and 2 above it, the quotient 1, two products 2, the sum N, τ 1: together below 3N/2 + 12 to first
    order; then the last sum rounds twice.
    """
    metric = added([p * own for p, own in zip(shares, moments, strict=True)]).sqrt() + eps
    terms = [
        p * (own.sqrt() + eps) / metric * (expert - base).abs()
        for p, own, expert in zip(shares, moments, experts, strict=True)
    ]
    total = added(terms)
    return (1.5 * len(experts) + 12) * 1.01 * U * total + 2 * U * (base.abs() + total)


def weights(seed: int, count: int) -> list[float]:
    return [float(w) for w in torch.rand(count, generator=torch.Generator().manual_seed(seed + 7)) + 0.05]


@given(SEEDS, COUNTS, st.sampled_from([1e-8, 1e-3]))
def test_it_is_its_formula(seed: int, count: int, eps: float) -> None:
    base, experts, moments = drawn(seed, count)
    weight = weights(seed, count)
    shares = [w / sum(weight) for w in weight]
    merged = adam(base, experts, moments, weight=weight, eps=eps)
    limit = bound(base, experts, moments, shares, eps)
    with localcontext(prec=60):
        total = sum(map(Decimal, weight))
        for i in range(len(base)):
            v = [Decimal(own[i].item()) for own in moments]
            p = [Decimal(w) / total for w in weight]
            own = [x.sqrt() + Decimal(eps) for x in v]
            metric = sum((a * x for a, x in zip(p, v, strict=True)), Decimal(0)).sqrt() + Decimal(eps)
            start = Decimal(base[i].item())
            moved = [
                a * m / metric * (Decimal(expert[i].item()) - start)
                for a, m, expert in zip(p, own, experts, strict=True)
            ]
            assert abs(Decimal(merged[i].item()) - start - sum(moved)) <= Decimal(limit[i].item())


@given(SEEDS, COUNTS)
def test_equal_moments_are_task_arithmetic(seed: int, count: int) -> None:
    base, experts, moments = drawn(seed, count)
    weight = weights(seed, count)
    shares = [w / sum(weight) for w in weight]
    plain = METHODS["task_arithmetic"]
    settings = settings_of(plain, count, weight=weight, normalize=True)
    mean = plain.reference(Inputs(experts, base), settings, torch.float64)
    same = [moments[0]] * count
    # The kernel's mean of θ has N + 3 roundings of terms as large as θ.
    size = sum(p * expert.abs() for p, expert in zip(shares, experts, strict=True)) + 2 * base.abs()
    limit = bound(base, experts, same, shares, 1e-8) + (count + 3) * U * size
    assert torch.all((adam(base, experts, same, weight=weight) - mean).abs() <= limit)


@given(SEEDS)
def test_equal_moments_and_exact_shares_are_a_sum_of_task_vectors_to_the_bit(seed: int) -> None:
    base, experts, moments = drawn(seed, 3, torch.float32)
    weight = [0.5, 0.25, 0.25]
    plain = METHODS["dare_linear"]  # at density 1 the same sum, in the same order
    settings = settings_of(plain, 3, weight=weight, tensor="w")
    want = plain.reference(Inputs(experts, base), settings, torch.float32)
    assert torch.equal(adam(base, experts, [moments[0]] * 3, weight=weight), want)
    assert torch.equal(adam(base, experts, [], weight=weight), want)  # a tensor that was not trained


@given(SEEDS, st.floats(1e-3, 1e3), st.integers(1, 4))
def test_one_expert_is_that_expert(seed: int, weight: float, count: int) -> None:
    base, experts, moments = drawn(seed, count, torch.bfloat16)  # whose task vectors are exact
    others = [0.0] * (count - 1)
    assert torch.equal(adam(base, experts, moments, weight=[weight, *others]), experts[0])
    assert torch.equal(adam(base, [experts[0]] * count, [moments[0]] * count), experts[0])


@given(SEEDS, st.permutations(range(4)))
def test_the_order_of_experts_does_not_matter(seed: int, order: list[int]) -> None:
    base, experts, moments = drawn(seed, 4)
    weight = weights(seed, 4)
    merged = adam(base, experts, moments, weight=weight)
    again = adam(
        base, [experts[n] for n in order], [moments[n] for n in order], weight=[weight[n] for n in order]
    )
    shares = [w / sum(weight) for w in weight]
    assert torch.all((merged - again).abs() <= 2 * bound(base, experts, moments, shares, 1e-8))


@given(SEEDS, COUNTS, st.integers(-20, 20))
def test_the_unit_of_gradients_does_not_matter(seed: int, count: int, power: int) -> None:
    base, experts, moments = drawn(seed, count)
    weight = weights(seed, count)
    scaled = [own * 4.0**power for own in moments]
    got = adam(base, experts, scaled, weight=weight, eps=1e-8 * 2.0**power)
    assert torch.equal(got, adam(base, experts, moments, weight=weight, eps=1e-8))


@given(SEEDS, COUNTS)
def test_no_element_moves_farther_than_the_experts_did_on_average(seed: int, count: int) -> None:
    """|Σ p M_n τ_n| / M ≤ √(Σ p τ²) by Cauchy and Schwarz, as √(Σ p (√v + ε)²) ≤ M by Minkowski."""
    base, experts, moments = drawn(seed, count)
    weight = weights(seed, count)
    shares = [w / sum(weight) for w in weight]
    mean_square = added([p * (expert - base) ** 2 for p, expert in zip(shares, experts, strict=True)])
    limit = mean_square.sqrt() * (1 + 8 * U) + bound(base, experts, moments, shares, 1e-8)
    assert torch.all((adam(base, experts, moments, weight=weight) - base).abs() <= limit)


def test_zero_moments_everywhere_are_a_mean() -> None:
    base, experts, _ = drawn(1, 2, torch.bfloat16)
    merged = adam(base, experts, [torch.zeros(40)] * 2)
    assert torch.equal(merged, adam(base, experts, []))


def test_an_absent_expert_needs_neither_to_be_finite_nor_to_have_moments(tmp_path: Path) -> None:
    states, paths, _ = saved(tmp_path, {"a": (3000,)}, 3)
    spoilt = dict(states[2], a=torch.full((3000,), torch.nan))
    paths[2] = str(save(spoilt, tmp_path / "spoilt"))
    each = {"weight": [0.4, 0.0, 0.6]}
    merge(make_recipe("adam_merge", paths, base=True, shared={}, each=each), tmp_path / "with")
    rest = make_recipe(
        "adam_merge", [paths[0], paths[1], paths[3]], base=True, shared={}, each={"weight": [0.4, 0.6]}
    )
    merge(rest, tmp_path / "without")
    a, b = (Checkpoint(tmp_path / name).read("a") for name in ("with", "without"))
    assert torch.equal(bits(a), bits(b))


def saved(
    folder: Path, shapes: dict[str, tuple[int, ...]], count: int, frozen: tuple[str, ...] = ()
) -> tuple[list[State], list[str], list[State]]:
    states = make_states(shapes, count, [torch.float32], 3)
    paths = write_models(states, folder)
    return states, paths, write_moments(states, paths, 4, frozen)


def test_tensors_without_moments_are_merged_by_the_mean_and_named(tmp_path: Path) -> None:
    states, paths, moments = saved(tmp_path, {"a": (30, 70), "b": (900,), "c": (5,)}, 2, frozen=("b",))
    recipe = make_recipe("adam_merge", paths, base=True, shared={}, each={"weight": [0.3, 0.7]})
    report = merge(recipe, tmp_path / "out")
    assert_is_twin(
        tmp_path / "out",
        "adam_merge",
        states,
        base=True,
        shared={},
        each={"weight": [0.3, 0.7]},
        estimates=moments,
    )
    assert report.notes == ("1 tensors without second moments are merged as by task_arithmetic: b",)
    assert read_manifest(tmp_path / "out")["notes"] == list(report.notes)
    plain = make_recipe("task_arithmetic", paths, base=True, shared={}, each={"weight": [0.3, 0.7]})
    assert merge(plain, tmp_path / "plain").notes == ()
    assert "notes" not in json.loads((tmp_path / "plain" / "manifest.json").read_text())


def test_moments_can_lie_elsewhere(tmp_path: Path) -> None:
    states, paths, moments = saved(tmp_path, {"a": (300,)}, 2)
    merge(make_recipe("adam_merge", paths, base=True, shared={}, each={}), tmp_path / "beside")
    for n, path in enumerate(paths[1:]):
        (Path(path) / MOMENTS_NAME).rename(tmp_path / f"v{n}.safetensors")
    each = {"moments": [str(tmp_path / f"v{n}.safetensors") for n in range(2)]}
    merge(make_recipe("adam_merge", paths, base=True, shared={}, each=each), tmp_path / "named")
    assert_is_twin(
        tmp_path / "named", "adam_merge", states, base=True, shared={}, each=each, estimates=moments
    )
    a, b = (Checkpoint(tmp_path / name).read("a") for name in ("beside", "named"))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: None, r"m2/second_moments.safetensors: is not there, though adam_merge needs"),
        (
            lambda v: {**v, "a": v["a"][:5]},
            r"second moments 'a' is F32 of shape \[5\], wanted floats of shape \[300\]",
        ),
        (lambda v: {**v, "a": v["a"].long()}, "second moments 'a' is I64 of shape"),
        (
            lambda v: {"b": v["b"]},
            "m2/second_moments.safetensors: holds no second moments of tensor 'a', which",
        ),
        (
            lambda v: {f"module.{n}": t for n, t in v.items()},
            "m2/second_moments.*: holds no second moments of",
        ),
        (
            lambda v: {**v, "a": -v["a"]},
            "m2/second_moments.*'a' is negative at index 0; means of squares cannot",
        ),
        (lambda v: {**v, "a": v["a"] * torch.nan}, "m2/second_moments.*'a' is NaN or infinite at index 0"),
    ],
)
def test_moments_that_do_not_fit_are_named(tmp_path: Path, spoil: object, message: str) -> None:
    _, paths, moments = saved(tmp_path, {"a": (300,), "b": (4,)}, 2)
    file = Path(paths[2]) / MOMENTS_NAME
    file.unlink()
    spoilt = spoil(moments[1])  # type: ignore[operator]
    if spoilt is not None:
        from m2m.checkpoint.writer import save_file

        save_file(spoilt, file)
    with pytest.raises(CheckpointError, match=message):
        merge(make_recipe("adam_merge", paths, base=True, shared={}, each={}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_moments_of_other_tensors_are_not_taken_for_none(tmp_path: Path) -> None:
    from m2m.checkpoint.writer import save_file

    _, paths, moments = saved(tmp_path, {"a": (30,)}, 2)
    for path, own in zip(paths[1:], moments, strict=True):
        save_file({f"module.{name}": tensor for name, tensor in own.items()}, Path(path) / MOMENTS_NAME)
    with pytest.raises(CheckpointError, match=r"holds 'module.a', they hold 'a'"):
        merge(make_recipe("adam_merge", paths, base=True, shared={}, each={}), tmp_path / "out")


@pytest.mark.parametrize("both", [False, True])
def test_moments_of_a_tensor_that_no_model_has_are_refused(tmp_path: Path, both: bool) -> None:
    from m2m.checkpoint.writer import save_file

    _, paths, moments = saved(tmp_path, {"layer.weight": (30,), "b": (4,)}, 2)
    for path, own in list(zip(paths[1:], moments, strict=True))[: 2 if both else 1]:
        save_file({**own, "layers.weight": torch.ones(3)}, Path(path) / MOMENTS_NAME)
    with pytest.raises(
        CheckpointError,
        match=r"m1/second_moments.*'layers.weight' is none of the models' \(did you mean 'layer.weight'",
    ):
        merge(make_recipe("adam_merge", paths, base=True, shared={}, each={}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_range_holds_infinity() -> None:
    with pytest.raises(RecipeError, match=r"eps must be in \(0, inf\), got -1"):
        settings_of(ADAM, 2, eps=-1)


def test_weights_are_shares_of_a_mixture() -> None:
    for weight, message in [([0, 0], "sum to 0"), ([-1, 2], r"weight must be in \[0")]:
        with pytest.raises(RecipeError, match=message):
            settings_of(ADAM, 2, weight=weight)
