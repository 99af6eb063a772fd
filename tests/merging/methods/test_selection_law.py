"""The law of the selecting methods: the stream gives the bits of the twin, however tensors are cut."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m._core import available_isas, current_isa, use_isa
from m2m.checkpoint import Checkpoint, save
from m2m.merging import merge
from m2m.merging.methods import METHODS, Inputs, selection, settings_of
from m2m.merging.stream import memory, passes

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
NAMES = (
    "ties",
    "dare_linear",
    "dare_ties",
    "breadcrumbs",
    "breadcrumbs_ties",
    "della",
    "della_linear",
    "sce",
)
#: Rows of odd lengths, a vector, one element, none, and more than one 65 536-element segment.
SHAPES = ((7,), (33, 5), (64, 64), (5, 3, 11), (1,), (), (0, 4), (130, 131), (3, 22_001), (70_000, 1))


def make_models(
    seed: int, shapes: list[tuple[int, ...]], dtypes: list[torch.dtype], coarse: bool
) -> list[dict[str, Tensor]]:
    """Make a base model and experts near it; `coarse` task vectors have few different magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    base = [torch.randn(shape, generator=generator, dtype=torch.float64) / 8 for shape in shapes]
    models = []
    for n, dtype in enumerate(dtypes):
        tensors = []
        for tensor in base:
            step = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / 64
            moved = tensor + ((step * 64).round() / 64 if coarse else step) * (n > 0)
            tensors.append(moved.to(dtype))
        models.append({f"t{i}": tensor for i, tensor in enumerate(tensors)})
    return models


def recipe_of(
    name: str, paths: list[Path], values: dict[str, Any], each: list[dict[str, Any]]
) -> dict[str, Any]:
    about = {key: values.pop(key) for key in ("seed", "definition")}
    return {
        "merge_method": name,
        "base_model": str(paths[0]),
        "models": [
            {"model": str(path), "parameters": row} for path, row in zip(paths[1:], each, strict=True)
        ],
        "parameters": values,
        "m2m": about,
    }


@st.composite
def method_values(draw: st.DrawFn, name: str, n: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw shared values, and those of each expert."""
    shared: dict[str, Any] = {
        "seed": draw(st.integers(0, 9)),
        "definition": draw(st.sampled_from(["paper", "mergekit"])),
    }
    if name == "sce":
        return shared | {"select_topk": draw(st.sampled_from([1.0, 0.5, 0.1, 0.9, 0.0]))}, [{}] * n
    weights = draw(st.lists(st.sampled_from([0.0, 1.0, 0.3, 0.7, 1.5]), min_size=n, max_size=n).filter(any))
    sign = draw(st.sampled_from([1, -1]))
    shared["rescale"], shared["normalize"] = draw(st.booleans()), draw(st.booleans())
    shared["lambda"] = draw(st.sampled_from([1.0, 0.5, -1.3]))
    rows = []
    for weight in weights:
        row = {"weight": sign * weight, "density": draw(st.sampled_from([0.5, 0.0, 1.0, 0.9, 0.33]))}
        if name.startswith("breadcrumbs"):
            row["gamma"] = draw(st.sampled_from([0.01, 0.2, 0.0]))
        if name.startswith("della"):
            row["epsilon"] = draw(st.sampled_from([0.05, 0.0]))
        rows.append(row)
    return shared, rows


def twin_of(
    name: str,
    models: list[dict[str, Tensor]],
    key: str,
    shared: dict[str, Any],
    each: list[dict[str, Any]],
    dtype: torch.dtype,
) -> Tensor:
    method, n = METHODS[name], len(models) - 1
    columns = {column: [row[column] for row in each] for column in each[0]}
    settings = settings_of(method, n, tensor=key, **shared, **columns)
    inputs = Inputs([model[key] for model in models[1:]], models[0][key])
    return method.reference(inputs, settings, dtype)


def assert_same_bits(got: Tensor, want: Tensor, about: object) -> None:
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    same = got.reshape(-1).view(torch.uint8) == want.reshape(-1).contiguous().view(torch.uint8)
    assert same.all(), (about, int((~same).sum()))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(NAMES),
    shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=2, max_size=4),
    same=st.booleans(),
    coarse=st.booleans(),
    out_dtype=st.sampled_from(DTYPES),
    threads=st.integers(1, 4),
    slot=st.sampled_from([4096, 12 * 1024, 128 * 1024]),
    window=st.sampled_from([1, 10**6, 10**9]),
    digit_bits=st.sampled_from([8, 13, 16]),
    sampled_from=st.sampled_from([1, 5000, 10**6]),
    guess_keys=st.sampled_from([0, 300, 3000, 10**7]),
    in_shards=st.none() | st.integers(9000, 500_000),
    isa=st.sampled_from(available_isas()),
    data=st.data(),
)
def test_streamed_bits_are_those_of_the_twin(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    name: str,
    shapes: list[tuple[int, ...]],
    dtypes: list[torch.dtype],
    same: bool,
    coarse: bool,
    out_dtype: torch.dtype,
    threads: int,
    slot: int,
    window: int,
    digit_bits: int,
    sampled_from: int,
    guess_keys: int,
    in_shards: int | None,
    isa: str,
    data: st.DataObject,
) -> None:
    dtypes = [dtypes[0]] * len(dtypes) if same else dtypes
    shared, each = data.draw(method_values(name, len(dtypes) - 1))
    models = make_models(seed, shapes, dtypes, coarse)
    folder = tmp_path_factory.getbasetemp() / "selection"
    shutil.rmtree(folder, ignore_errors=True)
    paths = [save(model, folder / str(i), shard_size=in_shards) for i, model in enumerate(models)]
    best = current_isa()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "SLOT_BYTES", slot)
        patch.setattr(passes, "WINDOW_BYTES", window)
        patch.setattr(selection, "_DIGIT_BITS", digit_bits)
        patch.setattr(selection, "_SAMPLED_FROM", sampled_from)
        patch.setattr(selection, "guess_keys", lambda *_: guess_keys)
        use_isa(isa)
        try:
            merge(
                recipe_of(name, paths, dict(shared), each),
                folder / "out",
                threads=threads,
                dtype=str(out_dtype).removeprefix("torch."),
            )
        finally:
            use_isa(best)
    merged = Checkpoint(folder / "out").state()
    for key in models[0]:
        want = twin_of(name, models, key, shared, each, out_dtype)
        assert_same_bits(merged[key], want, (key, models[0][key].shape))
