"""Adapters under methods that need the expert itself: θ_n = round(W + s·BA) is merged like any expert."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lora_files import State, factors, save_adapter
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from merge_cases import bits, make_recipe
from torch import Tensor

from m2m import _core
from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.checkpoint import read_tensor
from m2m.errors import CheckpointError, ConfigError, RecipeError
from m2m.merging import memory, merge, methods, windows
from m2m.merging.lora import AdaptedCheckpoint, AdaptedTensor, Adapter, expert_tensors
from m2m.merging.lora.twin import adapted
from m2m.merging.methods import Inputs, settings_of

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
#: More tensors than the factors of which are in memory at a time; the last one is adapted by no one.
NAMES = ("q.weight", "v.weight", "o.weight", "up.weight", "norm.weight")
#: Method, experts, shared parameters, parameters of each expert.
CASES: list[tuple[str, int, dict[str, Any], dict[str, list[Any]]]] = [
    ("ties", 3, {"lambda": 0.7}, {"weight": [1.0, 0.5, 0.8], "density": [0.5, 0.9, 0.3]}),
    ("dare_linear", 2, {}, {"weight": [0.5, 0.5], "density": [0.5, 0.9]}),
    ("dare_ties", 3, {}, {"weight": [1.0, 0.5, 0.8], "density": [0.5, 0.9, 1.0]}),
    ("breadcrumbs", 2, {}, {"weight": [0.4, 0.7], "density": [0.6, 0.8], "gamma": [0.05, 0.01]}),
    ("breadcrumbs_ties", 2, {}, {"weight": [0.4, 0.7], "density": [0.6, 0.8], "gamma": [0.05, 0.01]}),
    ("della", 2, {}, {"weight": [0.4, 0.7], "density": [0.6, 0.8], "epsilon": [0.1, 0.05]}),
    ("della_linear", 2, {}, {"weight": [0.4, 0.7], "density": [0.6, 0.8], "epsilon": [0.1, 0.05]}),
    ("sce", 3, {"select_topk": 0.5}, {}),
    ("model_stock", 3, {}, {}),
    ("slerp", 1, {"t": 0.3}, {}),
    ("karcher", 3, {}, {}),
    ("multislerp", 3, {}, {"weight": [0.2, 0.3, 0.5]}),
    ("nuslerp", 2, {}, {"weight": [0.4, 0.7]}),
    ("nearswap", 1, {"t": 0.03}, {}),
]


def write_models(
    folder: Path, shape: tuple[int, int], ranks: Sequence[int], dtypes: Sequence[torch.dtype], seed: int
) -> list[str]:
    """Write a base model, an adapter of each rank, and a whole expert; return their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(seed)
    base = {name: torch.randn(shape, generator=generator) for name in NAMES}
    near = {name: tensor + torch.randn(shape, generator=generator) / 64 for name, tensor in base.items()}
    for name, state in (("base", base), ("whole", near)):
        save({key: tensor.to(dtypes[0]) for key, tensor in state.items()}, folder / name)
    for n, rank in enumerate(ranks):
        own: State = {}
        for name in NAMES[: len(NAMES) - 1 - n]:
            own |= factors(name.removesuffix(".weight"), *shape, rank, seed % 1000 + n, dtypes[1 + n % 2])
        save_adapter(folder / f"lora{n}", own, r=rank, use_rslora=n % 2 == 1)
    return [str(folder / name) for name in ("base", *(f"lora{n}" for n in range(len(ranks))), "whole")]


def opened(paths: Sequence[str]) -> list[Checkpoint]:
    base = Checkpoint(paths[0])
    return [base] + [
        Checkpoint(path) if path.endswith("whole") else AdaptedCheckpoint(base, Adapter(path))
        for path in paths[1:]
    ]


def assert_is_twin_of_experts(
    out: Path, method: str, paths: Sequence[str], shared: dict[str, Any], each: dict[str, list[Any]]
) -> None:
    """Assert that a merged model is what the method's twin makes of the experts, formed one by one."""
    models, rule = opened(paths), methods.get(method)
    for name, got in Checkpoint(out).state().items():
        tensors: list[Tensor] = [
            adapted(source) if isinstance(source, AdaptedTensor) else read_tensor(source)
            for source in expert_tensors(models, [name] * len(models))
        ]
        inputs = Inputs(tensors[1:], None if rule.base == "ignored" else tensors[0])
        about = settings_of(rule, len(models) - 1, tensor=name, **shared, **each)
        assert torch.equal(bits(got), bits(rule.reference(inputs, about, got.dtype))), (method, name)


@settings(max_examples=25)
@given(
    case=st.sampled_from(CASES),
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 700)),
    rank=st.integers(1, 19),
    dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 3),
    threads=st.integers(1, 4),
    slot=st.sampled_from([4096, 8192, 128 * 1024]),
    window=st.sampled_from([1, 20_000, 10**9]),
    isa=st.sampled_from(_core.available_isas()),
    whole=st.booleans(),
)
def test_streams_are_twins_of_the_formed_experts(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[str, int, dict[str, Any], dict[str, list[Any]]],
    seed: int,
    shape: tuple[int, int],
    rank: int,
    dtypes: tuple[torch.dtype, ...],
    threads: int,
    slot: int,
    window: int,
    isa: str,
    whole: bool,
) -> None:
    method, n, shared, each = case
    folder = tmp_path_factory.getbasetemp() / "lora_methods"
    paths = write_models(folder, shape, [rank + i for i in range(n)], dtypes, seed)
    paths = [*paths[:n], paths[-1]] if whole and n > 1 else paths[: n + 1]
    before = _core.current_isa()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "SLOT_BYTES", slot)
            patch.setattr(windows, "WINDOW_BYTES", window)
            _core.use_isa(isa)
            merge(
                make_recipe(method, paths, base=True, shared=shared, each=each),
                folder / "out",
                threads=threads,
            )
    except RecipeError:  # directions of single numbers cancel now and then
        reject()
    finally:
        _core.use_isa(before)
    assert_is_twin_of_experts(folder / "out", method, paths, shared, each)
