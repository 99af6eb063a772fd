"""`m2m diff`: what it says of two models is what whole tensors in float64 say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.lora_files import factors, save_adapter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m.checkpoint import save
from m2m.cli import main
from m2m.errors import CheckpointError
from m2m.merging.compare import TensorDifference, diff

#: Rounding of a float64 sum of at most so many terms, each of two roundings, and a square root.
ELEMENTS = 21_000
ROUNDING = (ELEMENTS + 4) * 2.0**-53


def model(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"model.w": (300, 70), "model.b": (5,), "model.one": ()}
    state = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    return {**state, "model.steps": torch.tensor([3]), "model.none": torch.zeros(0, 4)}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16),
    dtypes=st.tuples(*[st.sampled_from([torch.bfloat16, torch.float16, torch.float32])] * 2),
    moved=st.sets(st.integers(0, 20_999), max_size=30),
)
def test_the_numbers_are_those_of_whole_tensors(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    dtypes: tuple[torch.dtype, torch.dtype],
    moved: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    first, second = model(seed, torch.float16), model(seed, torch.float16)
    for place in moved:
        second["model.w"].view(-1)[place] += 1
    first, second = ({n: t.to(d) if t.is_floating_point() else t for n, t in s.items()} for s, d in
                     zip((first, second), dtypes, strict=True))  # fmt: skip
    save(first, folder / "a")
    save(second, folder / "b")
    found = {tensor.name: tensor for tensor in diff(folder / "a", folder / "b").tensors}
    assert found.keys() == first.keys()
    a, b = first["model.w"].double(), second["model.w"].double()
    w = found["model.w"]
    assert w.changed == (a != b).sum()
    assert w.largest == (b.float() - a.float()).abs().max()
    assert w.norm == pytest.approx(a.norm().item(), rel=ROUNDING)
    assert w.distance == pytest.approx((b.float() - a.float()).double().norm().item(), rel=ROUNDING)
    assert w.cosine == pytest.approx(
        (a.flatten() @ b.flatten() / a.norm() / b.norm()).item(), rel=4 * ROUNDING
    )


def test_a_model_equals_itself_and_its_parts_say_where_not(tmp_path: Path) -> None:
    save(model(0), tmp_path / "a")
    assert diff(tmp_path / "a", tmp_path / "a").equal
    other = model(0)
    other["model.steps"] = torch.tensor([4])
    other["model.b"] = torch.zeros(7)
    del other["model.one"]
    other["extra"] = torch.ones(2)
    save(other, tmp_path / "b")
    found = diff(tmp_path / "a", tmp_path / "b")
    assert not found.equal
    assert found.only_first == ("model.one",)
    assert found.only_second == ("extra",)
    assert found.reshaped == (("model.b", (5,), (7,)),)
    changed = [tensor for tensor in found.tensors if tensor.changed]
    assert changed == [
        TensorDifference(name="model.steps", shape=(1,), dtypes=("I64", "I64"), elements=1, changed=1)
    ]
    assert changed[0].relative == math.inf


def test_names_that_a_prefix_tells_apart_are_the_same_tensors(tmp_path: Path) -> None:
    save(model(0), tmp_path / "a")
    save({name.removeprefix("model."): value for name, value in model(0).items()}, tmp_path / "b")
    found = diff(tmp_path / "a", tmp_path / "b")
    assert found.equal
    assert "without 'model.'" in found.notes[0]


def test_the_whole_is_one_vector(tmp_path: Path) -> None:
    first, second = model(0), model(1)
    save(first, tmp_path / "a")
    save(second, tmp_path / "b")
    a, b = (
        torch.cat([t.double().flatten() for t in s.values() if t.is_floating_point()])
        for s in (first, second)
    )
    whole = diff(tmp_path / "a", tmp_path / "b").whole
    assert whole is not None
    assert whole.elements == len(a)
    assert whole.cosine == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=4 * ROUNDING)
    assert whole.norm == pytest.approx(a.norm().item(), rel=4 * ROUNDING)


def test_an_adapter_goes_on_top_of_the_first(tmp_path: Path) -> None:
    state = {"model.layers.0.q_proj.weight": torch.randn(6, 4), "model.norm.weight": torch.ones(4)}
    save(state, tmp_path / "base")
    module = "model.layers.0.q_proj"
    parts = factors(module, rows=6, columns=4, rank=4, seed=1)
    save_adapter(tmp_path / "adapter", parts, base_model_name_or_path=str(tmp_path / "base"))
    found = diff(tmp_path / "base", tmp_path / "adapter")
    [changed] = [tensor for tensor in found.tensors if tensor.changed]
    assert changed.name == "model.layers.0.q_proj.weight"
    # In float32, as experts are widened: θ₀ + 2·BA and its difference from θ₀ are rounded once each.
    base = state[f"{module}.weight"].double()
    adapted = (base + 2 * parts[f"{module}.B"].double() @ parts[f"{module}.A"].double()).float()
    assert changed.distance == pytest.approx((adapted - base.float()).double().norm().item(), rel=1e-6)


def test_strangers_and_broken_models_are_refused(tmp_path: Path) -> None:
    save({"a": torch.ones(2)}, tmp_path / "a")
    save({"b": torch.ones(2)}, tmp_path / "b")
    save({"a": torch.tensor([1.0, math.nan])}, tmp_path / "nan")
    with pytest.raises(CheckpointError, match="different models"):
        diff(tmp_path / "a", tmp_path / "b")
    with pytest.raises(CheckpointError, match="tensor 'a' is NaN or infinite at index 1"):
        diff(tmp_path / "a", tmp_path / "nan")
    with pytest.raises(CheckpointError, match="no such file or folder"):
        diff(tmp_path / "a", tmp_path / "c")


def test_the_command_shows_what_differs_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {f"layer.{i}.w": torch.ones(4) for i in range(20)}
    second = {f"layer.{i}.w": torch.full((4,), 1 + i / 64) for i in range(20)}
    save(first, tmp_path / "a")
    save(second, tmp_path / "b")
    words = ["diff", str(tmp_path / "a"), str(tmp_path / "b"), "-q"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["layer.19.w", "0.297"]
    assert lines[-1] == "1 of 20 tensors are equal, 19 differ, 15 shown"
    assert main([*words, "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 19 + 1 + 1
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is False
