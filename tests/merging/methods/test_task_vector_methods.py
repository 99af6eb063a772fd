"""The task-vector family: ties, dare, della, breadcrumbs, against hand-made examples and exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m.errors import RecipeError
from m2m.merging.methods import METHODS, Inputs, settings_of
from m2m.merging.methods.draws import draw_words, keep_threshold, philox_key
from m2m.merging.methods.exact import magnitude_bits
from m2m.merging.methods.task_vectors import TaskVectorMethod, rank_probabilities, trim_task_vector

FAMILY = {name: method for name, method in METHODS.items() if isinstance(method, TaskVectorMethod)}
TRIMS = {"magnitude": "ties", "outliers": "breadcrumbs", "random": "dare_linear", "rank": "della_linear"}


def run(
    name: str, experts: list[Tensor], base: Tensor, out: torch.dtype | None = None, **values: object
) -> Tensor:
    method = METHODS[name]
    chosen = settings_of(method, len(experts), **({"tensor": "w"} | values))
    return method.reference(Inputs(experts, base), chosen, out or base.dtype)


def bfloat16(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).bfloat16()


def test_ties_by_hand() -> None:
    base = torch.zeros(6)
    a = torch.tensor([4.0, -1.0, 3.0, 0.5, 0.0, 2.0])
    b = torch.tensor([-3.0, -2.0, 1.0, 4.0, 0.0, -2.0])
    # Half of six: the three largest of each, by magnitude; a keeps 4, 3, 2; b keeps 4, -3, the first -2.
    trimmed = run("ties", [a, b], base, weight=1, density=0.5)
    assert trimmed.tolist() == [4.0, -2.0, 3.0, 4.0, 0.0, 2.0]
    # Untrimmed: signs by sum, the mean of those that agree, an exact tie (2 - 2) merges nothing.
    assert run("ties", [a, b], base, weight=1).tolist() == [4.0, -1.5, 2.0, 2.25, 0.0, 0.0]
    assert run("ties", [a, b], base, weight=1, definition="mergekit").tolist()[5] == 2.0
    assert run("ties", [a, b], base, weight=[1, 2], normalize=False).tolist() == [
        -6.0,
        -5.0,
        5.0,
        8.5,
        0.0,
        -4.0,
    ]
    assert run("ties", [a, b], base, weight=1, lambda_=0.5).tolist() == [2.0, -0.75, 1.0, 1.125, 0.0, 0.0]


def exact_ties(
    base: Tensor, experts: list[Tensor], weights: list[float], density: float
) -> list[tuple[Fraction, Fraction] | None]:
    """Result of ties in exact arithmetic and Σ|w τ|/|d|, None where rounding decides the election."""
    count = base.numel()
    kept = max(1, int(density * count))
    vectors = []
    for expert in experts:
        exact = [Fraction(x) - Fraction(y) for x, y in zip(expert.tolist(), base.tolist(), strict=True)]
        order = sorted(range(count), key=lambda i: (-abs(exact[i]), i))[:kept]
        vectors.append([value if i in order else Fraction(0) for i, value in enumerate(exact)])
    results: list[tuple[Fraction, Fraction] | None] = []
    for i, origin in enumerate(base.tolist()):
        values = [Fraction(w) * vector[i] for w, vector in zip(weights, vectors, strict=True)]
        total, spread = sum(values, Fraction(0)), sum(map(abs, values), Fraction(0))
        if 0 < abs(total) <= Fraction(2 * len(values), 2**53) * spread:
            results.append(None)
            continue
        agree = [n for n, value in enumerate(values) if value * total > 0]
        divisor = sum((Fraction(weights[n]) for n in agree), Fraction(0)) or Fraction(1)
        change = sum((values[n] for n in agree), Fraction(0)) / divisor
        results.append((Fraction(origin) + change, spread / divisor))
    return results


@given(
    st.integers(0, 999),
    st.lists(st.sampled_from([0.25, 0.5, 1.0, 0.3]), min_size=1, max_size=4),
    st.sampled_from([0.1, 0.5, 0.9, 1.0]),
)
@settings(max_examples=40)  # exact arithmetic is slow
def test_ties_is_the_exact_result_rounded_once(seed: int, weights: list[float], density: float) -> None:
    base = bfloat16(seed, 12)
    experts = [base + bfloat16(seed + n + 1, 12, scale=0.1) for n in range(len(weights))]
    merged = run("ties", experts, base, weight=weights, density=density)
    # Inside: float64 products, sums and quotient, (2N + 4) roundings; then one rounding to bfloat16.
    inner = Fraction(2 * len(weights) + 4, 2**53)
    for got, wanted in zip(merged.tolist(), exact_ties(base, experts, weights, density), strict=True):
        if wanted is None:
            continue
        exact, size = wanted
        slack = inner * (size + abs(exact))
        assert abs(Fraction(got) - exact) <= Fraction(1, 2**8) * abs(exact) + 2 * slack


@given(st.sampled_from(list(FAMILY)), st.integers(0, 99), st.integers(1, 4))
def test_identical_experts_are_a_fixed_point_at_full_density(name: str, seed: int, count: int) -> None:
    base = bfloat16(seed, 3, 5)
    expert = base + bfloat16(seed + 1, 3, 5, scale=0.1)
    merged = run(name, [expert] * count, base, weight=1 / count, normalize=True)
    assert torch.equal(merged, expert)


@given(st.sampled_from(list(FAMILY)), st.integers(0, 99), st.integers(0, 99))
def test_density_one_trims_nothing_and_density_zero_everything(name: str, seed: int, other: int) -> None:
    base = bfloat16(seed, 3, 5)
    experts = [base + bfloat16(seed + n, 3, 5, scale=0.1) for n in (1, 2)]
    full = run(name, experts, base, weight=0.5, density=1, seed=seed)
    plain = "ties" if FAMILY[name].elect else "task_arithmetic"
    if FAMILY[name].elect:
        normalize = METHODS[name].parameter("normalize").default
        assert torch.equal(full, run(plain, experts, base, weight=0.5, normalize=normalize))
    assert torch.equal(full, run(name, experts, base, weight=0.5, density=1, seed=other))
    assert torch.equal(run(name, experts, base, weight=0.5, density=0), base)


@given(st.sampled_from(list(TRIMS)), st.integers(1, 60), st.floats(0.01, 0.99), st.integers(0, 99))
def test_trims_keep_what_they_say(trim: str, count: int, density: float, seed: int) -> None:
    method = METHODS[TRIMS[trim]]
    epsilon = {"epsilon": min(density, 1 - density)} if trim == "rank" else {}
    gamma = {"gamma": 0.2} if trim == "outliers" else {}
    chosen = settings_of(method, 1, weight=1, density=density, seed=seed, tensor="w", **epsilon, **gamma)
    vector = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    kept = trim_task_vector(vector, trim, chosen, 0).mask  # type: ignore[arg-type]
    order = sorted(range(count), key=lambda i: (-abs(vector[i].item()), i))
    target = int(density * count)
    if trim == "magnitude":
        assert kept.nonzero().flatten().tolist() == sorted(order[: max(1, target)])
    elif trim == "outliers":
        dropped = min(int(0.2 * count), count - target)
        assert kept.nonzero().flatten().tolist() == sorted(order[dropped : dropped + target])
    else:
        words = draw_words(philox_key(seed, 0, "w"), 0, count).tolist()
        bits = magnitude_bits(vector)
        chance = (
            rank_probabilities(bits, density, epsilon["epsilon"], "paper").tolist()
            if trim == "rank"
            else [density] * count
        )
        assert kept.tolist() == [word < keep_threshold(q) for word, q in zip(words, chance, strict=True)]


def test_della_ranks_each_output_unit() -> None:
    vector = torch.tensor([[1.0, -4.0, 2.0, 3.0], [8.0, 7.0, 6.0, 5.0]])
    bits = magnitude_bits(vector)
    paper = rank_probabilities(bits, 0.5, 0.2, "paper")
    assert paper[0].tolist() == pytest.approx([0.45, 0.6, 0.5, 0.55], abs=2**-52)
    assert paper[1].tolist() == pytest.approx([0.6, 0.55, 0.5, 0.45], abs=2**-52)
    mergekit = rank_probabilities(bits, 0.5, 0.3, "mergekit")
    assert mergekit[1].tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=2**-52)
    assert (
        rank_probabilities(bits.reshape(2, 2, 2), 0.5, 0.2, "paper").flatten().tolist()
        == paper.flatten().tolist()
    )
    assert rank_probabilities(bits[:, :1], 0.5, 0.2, "mergekit").tolist() == [[0.5], [0.5]]


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_random_methods_are_unbiased_in_the_papers_scaling(name: str) -> None:
    count, density = 4000, 0.4
    base, vector = torch.zeros(count), torch.ones(count)
    merged = run(name, [vector], base, weight=1, density=density, seed=3)
    # Mean of count terms q·(1/q): the deviation of one is at most sqrt(1/q − 1), q ≥ 0.325; six of them.
    assert abs(merged.mean().item() - 1) <= 6 * ((1 / 0.325 - 1) / count) ** 0.5
    kept = merged != 0
    assert run(name, [vector], base, weight=1, density=density, seed=3, rescale=False).equal(kept.float())
    matched = run(name, [vector], base, weight=1, density=density, seed=3, definition="mergekit")
    assert abs(matched.sum().item() - count) <= count * 2.0**-22


def test_dare_scales_by_the_inverse_density() -> None:
    base, vector = torch.zeros(64), torch.randn(64, generator=torch.Generator().manual_seed(0))
    merged = run("dare_linear", [vector], base, weight=1, density=0.25)
    kept = merged != 0
    assert torch.equal(merged[kept], 4 * vector[kept])


@pytest.mark.parametrize("name", ["dare_ties", "della"])
def test_draws_follow_seed_expert_and_tensor_only(name: str) -> None:
    base = torch.zeros(256)
    ones = torch.ones(256)
    first = run(name, [ones, ones], base, weight=1, density=0.5, normalize=False, rescale=False)
    assert set(first.tolist()) == {0.0, 1.0, 2.0}  # the two experts draw apart
    again = run(name, [ones * 3, ones * 3], base, weight=1, density=0.5, normalize=False, rescale=False)
    assert torch.equal(again, 3 * first)
    for change in ({"seed": 1}, {"tensor": "v"}):
        other = run(name, [ones, ones], base, weight=1, density=0.5, normalize=False, rescale=False, **change)
        assert not torch.equal(other, first)


def test_rescaling_by_norm_keeps_the_norm() -> None:
    base, vector = torch.zeros(100), torch.randn(100, generator=torch.Generator().manual_seed(1))
    for name in ("ties", "breadcrumbs"):
        merged = run(name, [vector], base, weight=1, density=0.3, rescale=True)
        assert merged.abs().sum().item() == pytest.approx(vector.abs().sum().item(), rel=100 * 2.0**-24)


def test_a_weight_sum_that_cancels_is_refused() -> None:
    for name, message in [("dare_linear", "cannot be normalised"), ("dare_ties", "both signs")]:
        with pytest.raises(RecipeError, match=message):
            settings_of(METHODS[name], 2, weight=[1, -1], normalize=True)
