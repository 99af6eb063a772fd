"""Adapters under methods that need the expert itself: θ_n = round(W + s·BA) is merged like any expert."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lora_files import State, factors, save_adapter
from helpers.merge_cases import bits, make_recipe
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m import _core
from m2m.checkpoint import Checkpoint, save
from m2m.checkpoint.checkpoint import read_tensor
from m2m.errors import CheckpointError, ConfigError, RecipeError
from m2m.merging import MergeReport, merge, methods
from m2m.merging.lora import AdaptedCheckpoint, AdaptedTensor, Adapter, expert_tensors
from m2m.merging.methods import Inputs, settings_of
from m2m.merging.stream import memory, passes
from m2m.testing.tolerance import gamma

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
    ("ramplus_tl", 3, {"epsilon": 0.01, "alpha": 2}, {}),
    ("consensus", 3, {}, {"tall_lambda": [0.4, 0.6, 0.2]}),
    ("emr_unified", 2, {}, {}),
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
        dora = (seed + n) % 3 == 0
        for name in NAMES[: len(NAMES) - 1 - n]:
            module, kind = name.removesuffix(".weight"), dtypes[1 + n % 2]
            own |= factors(module, *shape, rank, seed % 1000 + n, kind, dora=dora)
        save_adapter(folder / f"lora{n}", own, r=rank, use_rslora=n % 2 == 1, use_dora=dora)
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
            source.form() if isinstance(source, AdaptedTensor) else read_tensor(source)
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
            patch.setattr(passes, "WINDOW_BYTES", window)
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


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_models(tmp_path, (24, 40), [3, 5], [torch.bfloat16, torch.float32, torch.bfloat16], 1)


def merge_ties(paths: list[str], out: Path, **options: Any) -> MergeReport:
    each = {"weight": [1.0] * (len(paths) - 1), "density": [0.5] * (len(paths) - 1)}
    return merge(make_recipe("ties", paths, base=True, shared={}, each=each), out, **options)


def test_an_expert_is_base_plus_delta_rounded_once(paths: list[str]) -> None:
    models = opened(paths)
    assert isinstance(models[1], AdaptedCheckpoint)
    for name in NAMES[:3]:
        source = expert_tensors(models, [name] * len(models))[1]
        assert isinstance(source, AdaptedTensor)
        _, own = models[1].modules[name]
        b, a = read_tensor(own.b).double(), read_tensor(own.a).double()
        delta, size = own.scale * (b @ a), own.scale * (b.abs() @ a.abs())
        base = models[0].read(name).double()
        got = source.form()
        assert got.dtype == torch.float32
        # Rounded once to float32, after a float64 sum of r + 2 roundings a term.
        slack = gamma(own.rank + 2, 2.0**-53) * (base.abs() + size)
        assert ((got.double() - (base + delta)).abs() <= 2.0**-24 * (base + delta).abs() + 2 * slack).all()
        # A change that bfloat16 would have swallowed is still there.
        assert (got != models[0].read(name)).float().mean() > 0.99


def test_it_is_the_merge_of_experts_written_in_float32(paths: list[str], tmp_path: Path) -> None:
    written = [paths[0]]
    for i, path in enumerate(paths[1:3]):
        recipe = {"merge_method": "passthrough", "models": [{"model": f"{paths[0]}+{path}"}]}
        merge(recipe, tmp_path / f"dense{i}", dtype="float32")
        written.append(str(tmp_path / f"dense{i}"))
    merge_ties(paths[:3], tmp_path / "at_once")
    merge_ties(written, tmp_path / "in_two_steps")
    at_once, in_two = (Checkpoint(tmp_path / name) for name in ("at_once", "in_two_steps"))
    for name in NAMES:
        assert torch.equal(bits(at_once.read(name)), bits(in_two.read(name))), name


def test_the_base_model_is_read_once_a_pass(paths: list[str], tmp_path: Path) -> None:
    report = merge_ties(paths[:3], tmp_path / "out", threads=1)
    elements, base = 24 * 40, 2
    factors_of = [n_adapted * rank * (24 + 40) for n_adapted, rank in ((4, 3), (3, 5))]
    read = elements * base * len(NAMES) + factors_of[0] * 4 + factors_of[1] * 2
    # Tensors that no adapter changes are read as the expert's too.
    unchanged = elements * base * (1 + 2)
    assert report.read_bytes == read + unchanged


def test_without_the_base_model_among_the_inputs_it_is_still_read_once(
    paths: list[str], tmp_path: Path
) -> None:
    models = [{"model": path, "parameters": {"weight": 0.5}} for path in paths[1:3]]
    recipe = {"merge_method": "nuslerp", "base_model": paths[0], "models": models}
    with_base = merge(recipe, tmp_path / "with", threads=1).read_bytes
    alone = {"merge_method": "karcher", "models": [{"model": f"{paths[0]}+{path}"} for path in paths[1:3]]}
    assert merge(alone, tmp_path / "alone", threads=1).read_bytes < with_base


def test_lora_bias_and_whole_tensors_are_the_experts(tmp_path: Path) -> None:
    state = {"q.weight": torch.ones(6, 10), "q.bias": torch.ones(6), "head.weight": torch.ones(4, 6)}
    save({name: tensor.bfloat16() for name, tensor in state.items()}, tmp_path / "base")
    for n in range(2):
        whole = {"head.weight": torch.full((4, 6), 2.0 + n, dtype=torch.bfloat16)}
        own = factors("q", 6, 10, 4, n) | {"q.lora_B.bias": torch.full((6,), 0.25)} | whole
        save_adapter(tmp_path / f"lora{n}", own)
    paths = [str(tmp_path / name) for name in ("base", "lora0", "lora1")]
    merge_ties(paths, tmp_path / "out", dtype="float32")
    each = {"weight": [1.0, 1.0], "density": [0.5, 0.5]}
    assert_is_twin_of_experts(tmp_path / "out", "ties", paths, {}, each)
    out = Checkpoint(tmp_path / "out")
    assert torch.equal(out.read("q.bias").unique(), torch.tensor([1.0, 1.5]))
    assert torch.equal(out.read("head.weight").unique(), torch.tensor([1.0, 2.5]))


def test_statistics_are_of_the_formed_experts(paths: list[str], tmp_path: Path) -> None:
    merge_ties(paths[:3], tmp_path / "out", statistics=True)
    models = opened(paths[:3])
    tables = json.loads((tmp_path / "out" / "statistics.json").read_text())["tensors"]
    for name in NAMES:
        sources = expert_tensors(models, [name] * len(models))
        base = models[0].read(name).float()
        experts = [s.form() if isinstance(s, AdaptedTensor) else read_tensor(s).float() for s in sources[1:]]
        largest = [float((expert - base).abs().max()) for expert in experts]
        assert tables[name]["largest"] == largest


def test_an_interrupted_merge_of_adapters_goes_on(paths: list[str], tmp_path: Path) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    merge_ties(paths, tmp_path / "uncut")
    with pytest.raises(KeyboardInterrupt):
        merge_ties(paths, tmp_path / "out", progress=interrupt)
    merge_ties(paths, tmp_path / "out", resume=True)
    for name in NAMES:
        assert torch.equal(Checkpoint(tmp_path / "out").read(name), Checkpoint(tmp_path / "uncut").read(name))


def test_the_slot_that_experts_are_formed_in_counts(paths: list[str], tmp_path: Path) -> None:
    factor_bytes = 2 * (3 + 5) * (24 + 40) * 4
    slots = (3 + 1 + 1) * 4096  # inputs, base, output
    with pytest.raises(ConfigError, match="factors"):
        merge_ties(paths[:3], tmp_path / "out", memory=factor_bytes + slots - 1)
    merge_ties(paths[:3], tmp_path / "out", memory=factor_bytes + slots)


@pytest.mark.parametrize("where", ["base", "factor"])
def test_bad_numbers_are_named(paths: list[str], tmp_path: Path, where: str) -> None:
    if where == "base":
        state = Checkpoint(paths[0]).state()
        state["q.weight"][0, 7] = float("nan")
        shutil.rmtree(paths[0])
        save(state, Path(paths[0]))
        message = r"base/model.safetensors: tensor 'q.weight' is NaN or infinite at index 7"
    else:
        own = factors("q", 24, 40, 3, 0)
        own["q.A"][1, 2] = float("inf")
        shutil.rmtree(paths[1])
        save_adapter(Path(paths[1]), own, r=3)
        message = r"lora0/adapter_model.safetensors: .*lora_A.weight' is NaN or infinite at index 42"
    with pytest.raises(CheckpointError, match=message):
        merge_ties(paths[:3], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sum_too_large_for_float32_names_both_files(tmp_path: Path) -> None:
    save({"q.weight": torch.full((2, 2), 3e38)}, tmp_path / "base")
    save_adapter(tmp_path / "lora0", {"q.A": torch.full((1, 2), 1e20), "q.B": torch.full((2, 1), 1e20)}, r=1)
    paths = [str(tmp_path / name) for name in ("base", "lora0")]
    with pytest.raises(
        CheckpointError, match=r"base/.* \+ .*lora0/.*'q.weight' is NaN or infinite at index 0"
    ):
        merge_ties(paths, tmp_path / "out")
