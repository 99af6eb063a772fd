"""What holds for every merge method: fixed points, defaults that exist, specifications a driver can trust."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import RecipeError
from m2m.merging.methods import METHODS, GramSum, Inputs, Settings, WeightedSum, get, settings_of

ALL = sorted(METHODS)


def example_settings(name: str, experts: int, seed: int = 0, definition: str = "paper") -> Settings:
    """Settings with something in every required parameter."""
    values: dict[str, object] = {"seed": seed, "tensor": "h.0.w", "definition": definition}
    for parameter in METHODS[name].parameters:
        if parameter.name == "weight":
            values["weight"] = [1 / experts] * experts
        elif parameter.name == "t":
            values["t"] = 0.3
        elif parameter.name == "density":
            values["density"] = 0.5
    special: dict[str, dict[str, object]] = {
        "scheffe": {"datasets": ["a", "b", "a+b"], "weight": [0.25, 0.75, None]},
        "anchored": {"anchor": 0.5, "shared": [1 / experts] * experts},
        "fisher": {"fisher": ["f"] * experts},
    }
    return settings_of(METHODS[name], experts, **(values | special.get(name, {})))


def expert_count(name: str) -> int:
    method = METHODS[name]
    return 3 if name == "scheffe" else max(method.least, 3 if method.most is None else method.most)


def bfloat16(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def inputs_of(name: str, base: torch.Tensor, experts: list[torch.Tensor]) -> Inputs:
    drawn = [torch.rand(base.shape, generator=torch.Generator().manual_seed(n)) for n in range(len(experts))]
    estimates = drawn if name in {"fisher", "adam_merge"} else ()
    return Inputs(experts, None if METHODS[name].base == "ignored" else base, estimates)


@pytest.mark.parametrize("definition", ["paper", "mergekit"])
@pytest.mark.parametrize("name", ALL)
def test_experts_equal_to_the_base_are_a_fixed_point(name: str, definition: str) -> None:
    base, count = bfloat16(1, 4, 6), expert_count(name)
    settings = example_settings(name, count, definition=definition)
    merged = METHODS[name].reference(inputs_of(name, base, [base] * count), settings, torch.bfloat16)
    # Weights sum to 1 up to float32 rounding, far below half a unit in the last place of bfloat16.
    assert torch.equal(merged, base)


@pytest.mark.parametrize("name", ALL)
def test_a_merge_is_a_function_of_its_inputs(name: str) -> None:
    base, count = bfloat16(1, 4, 6), expert_count(name)
    experts = [base + 0.1 * bfloat16(2 + n, 4, 6) for n in range(count)]
    before = [tensor.clone() for tensor in (base, *experts)]
    settings, inputs = example_settings(name, count), inputs_of(name, base, experts)
    first = METHODS[name].reference(inputs, settings, torch.float32)
    assert torch.equal(first, METHODS[name].reference(inputs, settings, torch.float32))
    assert all(torch.equal(a, b) for a, b in zip(before, (base, *experts), strict=True))
    assert first.shape == base.shape
    assert first.dtype == torch.float32
    assert not torch.equal(first, base.float())
    # One rounding each: the bfloat16 result lies within half a unit of the float32 one.
    half = METHODS[name].reference(inputs, settings, torch.bfloat16).double()
    assert torch.all((half - first.double()).abs() <= (2.0**-8 + 2.0**-23) * first.double().abs() + 2.0**-126)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0), (5,), (2, 3, 2)])
def test_every_shape_is_merged(name: str, shape: tuple[int, ...]) -> None:
    base, count = bfloat16(1, *shape), expert_count(name)
    experts = [base + 0.1 * bfloat16(2 + n, *shape) for n in range(count)]
    merged = METHODS[name].reference(
        inputs_of(name, base, experts), example_settings(name, count), torch.float32
    )
    assert merged.shape == shape
    assert bool(merged.isfinite().all())


@given(
    st.sampled_from([n for n in ALL if METHODS[n].base != "ignored"]),
    st.integers(0, 999),
    st.integers(-20, 20),
)
def test_task_vector_methods_commute_with_powers_of_two(name: str, seed: int, power: int) -> None:
    # t and epsilon are absolute; a softmax is not homogeneous
    if name in {"nearswap", "arcee_fusion", "ram", "ramplus_tl"}:
        return
    base, count = bfloat16(seed, 3, 4), expert_count(name)
    experts = [base + 0.1 * bfloat16(seed + 1 + n, 3, 4) for n in range(count)]
    settings, factor = example_settings(name, count, seed), 2.0**power
    scaled = METHODS[name].reference(
        inputs_of(name, base * factor, [expert * factor for expert in experts]), settings, torch.float32
    )
    assert torch.equal(
        scaled, METHODS[name].reference(inputs_of(name, base, experts), settings, torch.float32) * factor
    )


@pytest.mark.parametrize("name", ALL)
def test_specifications_are_complete(name: str) -> None:
    method = METHODS[name]
    assert method.source
    assert isinstance(method, WeightedSum) == (method.kind == "weights")
    assert isinstance(method, GramSum) == (method.kind == "gram")
    assert method.most is None or method.most >= method.least >= 1
    for parameter in method.parameters:
        assert (
            parameter.default is None
            or parameter.check(parameter.default, parameter.name) == parameter.default
        )
        assert not (parameter.required and parameter.default is not None)


def test_an_unknown_method_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="did you mean 'slerp'"):
        get("slrep")


def test_settings_are_checked() -> None:
    ties = METHODS["ties"]
    for values, message in [
        ({}, "needs the parameter weight"),
        ({"weight": 1, "dnsity": 1}, "has no parameter"),
        ({"weight": 1, "density": -0.5}, r"density must be in \[0, 1\]"),
        ({"weight": "one"}, "must be a number"),
        ({"weight": 1, "normalize": 2}, "must be true or false"),
    ]:
        with pytest.raises(RecipeError, match=message):
            settings_of(ties, 2, **values)


def test_the_registry_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, m2m.merging.methods; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_rule_that_gives_too_few_weights_is_refused() -> None:
    short = GramSum(
        name="short", base="required", parameters=(), space="task vectors", source="this test",
        weights=lambda gram, settings: [1.0],
    )  # fmt: skip
    inputs = Inputs((torch.ones(4), 2 * torch.ones(4)), torch.zeros(4))
    with pytest.raises(RecipeError, match="short: its rule gave 1 weights for 2 points"):
        short.reference(inputs, settings_of(short, 2), torch.float32)
