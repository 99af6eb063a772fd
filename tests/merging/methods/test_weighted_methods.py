"""Methods that are weighted sums, by the recipe (linear, scheffe, ...) or by angles (slerp, karcher, ...)."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from m2m.errors import RecipeError
from m2m.merging.methods import METHODS, Inputs, WeightedSum, settings_of

#: Unit roundoffs.
U32, U64 = 2.0**-24, 2.0**-53
SHARES = st.lists(st.integers(1, 20), min_size=2, max_size=5)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(name: str, experts: list[Tensor], base: Tensor | None = None, **values: object) -> Tensor:
    method = METHODS[name]
    out = experts[0].dtype
    return method.reference(Inputs(experts, base), settings_of(method, len(experts), **values), out)


def assert_weighted(merged: Tensor, weights: list[float], inputs: list[Tensor], slack: float = 0.0) -> None:
    """Σ w x against a float32 sum of fused steps: γ_N, a rounding of each weight, `slack` on weights."""
    exact = sum(w * x.double() for w, x in zip(weights, inputs, strict=True))
    size = sum(abs(w) * x.double().abs() for w, x in zip(weights, inputs, strict=True))
    spread = sum(x.double().abs() for x in inputs)
    bound = (len(inputs) + 3) * U32 * size + slack * spread + 2.0**-149
    assert torch.all((merged.double() - exact).abs() <= bound)  # type: ignore[union-attr,operator]


@given(SHARES, st.integers(0, 99))
def test_linear_is_the_weighted_mean(parts: list[int], seed: int) -> None:
    experts = [normal(seed + n, 7) for n in range(len(parts))]
    assert_weighted(run("linear", experts, weight=parts), [p / sum(parts) for p in parts], experts)
    assert_weighted(run("linear", experts, weight=parts, normalize=False), [float(p) for p in parts], experts)
    assert torch.equal(
        run("linear", experts, weight=parts), run("linear", experts, weight=[4 * p for p in parts])
    )


@given(st.integers(1, 4), st.integers(0, 99), st.data())
def test_one_hot_weights_return_the_expert(count: int, seed: int, data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, count - 1))
    weight = [float(n == chosen) for n in range(count)]
    experts, base = [normal(seed + n, 9) for n in range(count)], normal(seed + 50, 9)
    assert torch.equal(run("linear", experts, weight=weight), experts[chosen])
    assert torch.equal(run("task_arithmetic", experts, base, weight=weight), experts[chosen])
    assert torch.equal(run("passthrough", experts[:1]), experts[0])
    assert torch.equal(run("passthrough", experts[:1], scale=-2), -2 * experts[0])


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.floats(-2, 2), st.integers(0, 99))
def test_task_arithmetic_adds_scaled_task_vectors(weights: list[float], scale: float, seed: int) -> None:
    experts, base = [normal(seed + n, 9) for n in range(len(weights))], normal(seed + 50, 9)
    merged = run("task_arithmetic", experts, base, weight=weights, lambda_=scale)
    scaled = [scale * weight for weight in weights]
    assert_weighted(merged, [1 - math.fsum(scaled), *scaled], [base, *experts], slack=8 * U64 * 10)


def quadratic_model(names: list[str], seed: int) -> tuple[list[Tensor], dict[tuple[str, str], Tensor]]:
    """Experts and bends of a θ*(λ) that is exactly quadratic on the simplex, all small integers."""
    draw = torch.Generator().manual_seed(seed)
    singles = [torch.randint(-8, 8, (6,), generator=draw).float() for _ in names]
    pairs = {pair: torch.randint(-8, 8, (6,), generator=draw).float() for pair in combinations(names, 2)}
    return singles, pairs


@given(SHARES.filter(lambda parts: len(parts) <= 4), st.integers(0, 99))
def test_scheffe_reproduces_every_quadratic(parts: list[int], seed: int) -> None:
    names = [f"d{n}" for n in range(len(parts))]
    singles, bends = quadratic_model(names, seed)
    shares = dict(zip(names, (part / sum(parts) for part in parts), strict=True))

    def truth(mixture: dict[str, float]) -> Tensor:
        bent = sum(mixture[a] * mixture[b] * u.double() for (a, b), u in bends.items())
        return sum(mixture[n] * x.double() for n, x in zip(names, singles, strict=True)) + bent  # type: ignore[return-value]

    pair_experts = [truth({n: 0.5 * (n in pair) for n in names}).float() for pair in bends]
    experts = [*singles, *pair_experts]
    weight = [*shares.values(), *[None] * len(bends)]
    merged = run("scheffe", experts, datasets=[*names, *("+".join(pair) for pair in bends)], weight=weight)
    coefficients = [s * (2 * s - 1) for s in shares.values()] + [4 * shares[a] * shares[b] for a, b in bends]
    assert abs(math.fsum(coefficients) - 1) <= 20 * U64
    assert_weighted(merged, coefficients, experts)
    size = sum(abs(c) * x.double().abs() for c, x in zip(coefficients, experts, strict=True))
    assert torch.all((merged.double() - truth(shares)).abs() <= (len(experts) + 3) * U32 * size + 2.0**-149)


def test_scheffe_is_exact_at_vertices_and_pair_midpoints() -> None:
    experts = [normal(n, 5) for n in range(6)]
    datasets = ["a", "b", "c", "a+b", "c+a", "b+c"]
    for weight, chosen in [
        ([1, 0, 0], 0),
        ([0, 0, 1], 2),
        ([0.5, 0.5, 0], 3),
        ([0.5, 0, 0.5], 4),
        ([0, 0.5, 0.5], 5),
    ]:
        merged = run("scheffe", experts, datasets=datasets, weight=[*weight, None, None, None])
        assert torch.equal(merged, experts[chosen])


@pytest.mark.parametrize(
    ("datasets", "weight", "message"),
    [
        (["a", "b"], [0.5, 0.5], "no expert for the pair a[+]b"),
        (["a", "b", "a+c"], [0.5, 0.5, None], "is not a pair of two of the datasets"),
        (["a", "b", "a+b", "b+a"], [0.5, 0.5, None, None], "two experts for the pair"),
        (["a", "a"], [0.5, 0.5], "two experts for the dataset"),
        (["a", "b", "a+b"], [0.5, 0.4, None], "must sum to 1"),
        (["a", "b", "a+b"], [0.5, 0.5, 0.1], "takes no weight"),
        (["a", "b", "a+b"], [0.5, None, None], "needs a weight"),
    ],
)
def test_scheffe_refuses(datasets: list[str], weight: list[float | None], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        settings_of(METHODS["scheffe"], len(datasets), datasets=datasets, weight=weight)


@given(SHARES, st.sampled_from([0.25, 0.5, 0.9, 1.0]), st.booleans())
def test_anchored_weights_reach_the_mixture(parts: list[int], anchor: float, outside: bool) -> None:
    wanted = [part / sum(parts) for part in parts]
    shared = [0.0 if outside else 1 / len(parts)] * len(parts)
    # Mixtures that can be reached: push non-negative weights through λ = β w + (1 − β) s.
    mixture = [anchor * w + (1 - anchor) * s for w, s in zip(wanted, shared, strict=True)]
    settings = settings_of(METHODS["anchored"], len(parts), weight=mixture, shared=shared, anchor=anchor)
    anchored = METHODS["anchored"]
    assert isinstance(anchored, WeightedSum)
    for got, want in zip(anchored.weights(settings), wanted, strict=True):
        assert abs(got - want) <= 6 * U64 / anchor


def test_anchored_refuses_what_cannot_be_reached() -> None:
    for values, message in [
        ({"weight": [1.0, 0.0], "shared": 0.5, "anchor": 0.5}, "less of a dataset than every expert saw"),
        ({"weight": [0.7, 0.7], "shared": 0.5, "anchor": 0.5}, "must sum to 1"),
        ({"weight": [0.5, 0.5], "shared": 0.5, "anchor": 0.0}, r"anchor must be in \(0, 1\]"),
    ]:
        with pytest.raises(RecipeError, match=message):
            settings_of(METHODS["anchored"], 2, **values)
    allowed = settings_of(METHODS["anchored"], 2, weight=[1, 0], shared=0.5, anchor=0.5, extrapolate=True)
    anchored = METHODS["anchored"]
    assert isinstance(anchored, WeightedSum)
    assert anchored.weights(allowed) == [1.5, -0.5]


# ---- on spheres ----


def angle_between(a: Tensor, b: Tensor) -> float:
    """Angle in float64, accurate near 0 and π (Kahan)."""
    u, v = a.double() / a.double().norm(), b.double() / b.double().norm()
    return 2 * math.atan2((u - v).norm().item(), (u + v).norm().item())


@given(st.integers(0, 99), st.floats(0, 1), st.floats(1e-3, 3))
def test_slerp_follows_the_arc(seed: int, t: float, spread: float) -> None:
    a = normal(seed, 4, 5)
    b = a + spread * normal(seed + 1, 4, 5)
    angle = angle_between(a, b)
    assume(angle < 3)
    weights = [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]
    # The cosine is off by at most 2·20 roundings; d weight/d cosine is at most 1/sin², and smooth near 0.
    slack = 64 * U64 / min(1.0, math.sin(angle) ** 2) if angle > 0.5 else 64 * U64
    assert_weighted(run("slerp", [b], a, t=t), weights, [a, b], slack)
    assert_weighted(run("nuslerp", [a, b], weight=[1 - t, t]), weights, [a, b], slack)


def test_slerp_ends_at_its_ends() -> None:
    a, b = normal(0, 30), normal(1, 30)
    for definition in ("paper", "mergekit"):
        assert torch.equal(run("slerp", [b], a, t=0, definition=definition), a)
        assert torch.equal(run("slerp", [b], a, t=1, definition=definition), b)
    assert torch.equal(run("slerp", [-a], a, t=0.5), torch.zeros_like(a))


def test_mergekits_chord_is_a_choice() -> None:
    a = normal(0, 1000)
    b = a + 0.02 * normal(1, 1000)  # cosine about 0.9998
    chord = run("slerp", [b], a, t=0.3, definition="mergekit")
    assert_weighted(chord, [0.7, 0.3], [a, b])
    arc = run("slerp", [b], a, t=0.3)
    angle = angle_between(a, b)
    assert_weighted(
        arc,
        [math.sin(0.7 * angle) / math.sin(angle), math.sin(0.3 * angle) / math.sin(angle)],
        [a, b],
        64 * U64,
    )
    assert not torch.equal(arc, chord)


@given(st.integers(0, 99))
def test_spherical_means_of_two_agree_at_equal_norms(seed: int) -> None:
    a, b = (normal(seed + n, 40).double() for n in range(2))
    a, b = a / a.norm(), b / b.norm()
    middle = (a + b) / (a + b).norm()
    # Float64 tensors: 40 products and sums, a few functions, ten Karcher steps whose error contracts.
    bound = 500 * U64
    for name, values in [
        ("multislerp", {"weight": 1}),
        ("karcher", {"tol": 1e-15}),
        ("nuslerp", {"weight": 1}),
    ]:
        assert (run(name, [a, b], None, **values) - middle).abs().max() <= bound


@given(st.integers(0, 99), st.integers(3, 5))
def test_the_karcher_mean_balances_its_pulls(seed: int, count: int) -> None:
    centre = normal(seed + 90, 30).double()
    experts = [centre + 0.5 * normal(seed + n, 30).double() for n in range(count)]
    mean = run("karcher", experts, max_iter=100, tol=1e-12)
    sizes = [expert.norm().item() for expert in experts]
    assert abs(mean.norm().item() - sum(sizes) / count) <= 200 * U64 * max(sizes)
    unit, pull = mean / mean.norm(), torch.zeros(30, dtype=torch.float64)
    for expert in experts:
        direction = expert / expert.norm()
        across = direction - (direction @ unit) * unit
        pull += angle_between(expert, mean) * across / across.norm()
    assert (pull / count).norm() <= 1e-12 + 500 * U64


def test_a_zero_expert_has_no_direction_but_a_norm() -> None:
    a = normal(0, 10).double()
    for name, values in [("karcher", {}), ("multislerp", {"weight": 1})]:
        merged = run(name, [a, 0 * a], None, **values)
        assert (merged - a / 2).abs().max() <= 20 * U64 * a.abs().max()


def test_karcher_and_multislerp_refuse_directions_that_cancel() -> None:
    a, b = normal(0, 10), normal(1, 10)
    for name, values in [("karcher", {}), ("multislerp", {"weight": [1, 1, 1, 1]})]:
        with pytest.raises(RecipeError, match="cancel"):
            run(name, [a, -a, b, -b], None, **values)
    assert torch.equal(run("multislerp", [a, -a], weight=1), torch.zeros(10))


def test_a_base_model_moves_the_sphere() -> None:
    base, a, b = (normal(n, 25).double() for n in range(3))
    for name in ("nuslerp", "multislerp"):
        moved = run(name, [a, b], base, weight=[1, 2])
        shifted = base + run(name, [a - base, b - base], weight=[1, 2])
        assert (moved - shifted).abs().max() <= 100 * U64 * max(x.abs().max().item() for x in (base, a, b))


def test_row_wise_methods_treat_rows_apart() -> None:
    base, a, b = (normal(n, 3, 8) for n in range(3))
    for name, values, axis in [
        ("nuslerp", {"weight": [1, 3], "nuslerp_flatten": False}, 0),
        ("nuslerp", {"weight": [1, 3], "nuslerp_flatten": False, "nuslerp_row_wise": True}, 1),
        ("model_stock", {"filter_wise": True}, 0),
    ]:
        merged = run(name, [a, b], base, **values)
        whole = {key: value for key, value in values.items() if key == "weight"}
        for index in range(merged.shape[axis]):
            row = [tensor.select(axis, index).contiguous() for tensor in (a, b, base)]
            assert torch.equal(merged.select(axis, index), run(name, row[:2], row[2], **whole))


@given(st.integers(2, 5), st.floats(0, 3))
def test_model_stock_interpolates_by_the_angle(count: int, common: float) -> None:
    base = normal(9, count + 1).double()
    # Task vectors e_n + common·e_last: the cosine of every pair is common² / (1 + common²).
    eye = torch.eye(count + 1, dtype=torch.float64)
    experts = [base + eye[n] + common * eye[-1] for n in range(count)]
    cosine = common**2 / (1 + common**2)
    t = count * cosine / (1 + (count - 1) * cosine)
    mean = sum(experts) / count
    expected = t * mean + (1 - t) * base
    assert (run("model_stock", experts, base) - expected).abs().max() <= 200 * U64 * (
        1 + base.abs().max().item()
    ) * 4


def test_model_stock_stays_at_the_base_when_experts_oppose() -> None:
    base = normal(0, 6)
    assert torch.equal(run("model_stock", [base + 1, base - 1], base), base)
    assert torch.equal(run("model_stock", [base, base], base), base)
