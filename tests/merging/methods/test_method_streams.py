"""The law of the driver: a streamed method is its reference twin, bit by bit, however it is cut up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merge_cases import (
    assert_is_twin,
    make_recipe,
    make_states,
    stop_half_way,
    write_models,
    write_moments,
)
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from m2m import _core
from m2m.checkpoint import Checkpoint
from m2m.errors import CheckpointError, RecipeError
from m2m.merging import merge
from m2m.merging.stream import memory, passes

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
#: Method, experts, whether there is a base model, shared parameters, parameters of each expert.
CASES: list[tuple[str, int, bool, dict[str, Any], dict[str, list[Any]]]] = [
    ("slerp", 1, True, {"t": 0.3}, {}),
    ("karcher", 3, False, {}, {}),
    ("multislerp", 3, True, {}, {"weight": [0.2, 0.3, 0.5]}),
    ("multislerp", 2, False, {}, {"weight": [1.0, 2.0]}),
    ("model_stock", 4, True, {}, {}),
    ("model_stock", 2, True, {"filter_wise": True}, {}),
    ("nuslerp", 2, False, {}, {"weight": [0.4, 0.7]}),
    ("nuslerp", 2, True, {"nuslerp_flatten": False}, {"weight": [0.4, 0.7]}),
    ("nuslerp", 2, False, {"nuslerp_flatten": False, "nuslerp_row_wise": True}, {"weight": [0.4, 0.7]}),
    ("nearswap", 1, True, {"t": 0.03}, {}),
    ("ram", 3, True, {"epsilon": 0.05}, {}),
    ("ram", 1, True, {}, {}),
    ("ramplus_tl", 4, True, {"epsilon": 0.08, "alpha": 1.5, "r": 0.3}, {}),
    ("ramplus_tl", 2, True, {"epsilon": 0}, {}),
    ("consensus", 3, True, {"k": 2, "lambda": 0.7}, {"tall_lambda": [0.4, 1.0, 0.0]}),
    ("consensus", 1, True, {"k": 1}, {}),
    ("emr_unified", 4, True, {"lambda": 0.3}, {}),
    ("adam_merge", 3, True, {"eps": 1e-4}, {"weight": [0.2, 0.0, 0.5]}),
]
SHAPES = st.sampled_from([(), (0,), (1,), (17, 0), (3, 70), (20, 33), (5, 4, 3, 1), (4099,), (2, 300)])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(CASES),
    shapes=st.lists(SHAPES, min_size=1, max_size=4),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2),
    threads=st.integers(1, 4),
    slot=st.sampled_from([4096, 8192, 128 * 1024]),
    window=st.sampled_from([1, 20_000, 10**9]),
    isa=st.sampled_from(_core.available_isas()),
    seed=st.integers(0, 2**31),
)
def test_streams_are_their_twins(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[str, int, bool, dict[str, Any], dict[str, list[Any]]],
    shapes: list[tuple[int, ...]],
    dtypes: list[torch.dtype],
    threads: int,
    slot: int,
    window: int,
    isa: str,
    seed: int,
) -> None:
    method, n, base, shared, each = case
    states = make_states({f"t{i}": shape for i, shape in enumerate(shapes)}, n, dtypes, seed)
    folder = tmp_path_factory.getbasetemp() / "method_streams"
    shutil.rmtree(folder, ignore_errors=True)
    paths = write_models(states, folder, shard_size=9000)
    moments = write_moments(states, paths, seed, frozen=("t1",)) if method == "adam_merge" else None
    before = _core.current_isa()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "SLOT_BYTES", slot)
        patch.setattr(passes, "WINDOW_BYTES", window)
        _core.use_isa(isa)
        try:
            recipe = make_recipe(method, paths, base=base, shared=shared, each=each)
            merge(recipe, folder / "out", threads=threads)
        except RecipeError:  # directions of single numbers cancel now and then
            reject()
        finally:
            _core.use_isa(before)
    assert_is_twin(folder / "out", method, states, base=base, shared=shared, each=each, estimates=moments)


@pytest.mark.parametrize("shape", [(200_003,), (3, 66_001), (66_001, 3)])
@pytest.mark.parametrize("case", [4, 5, 7, 8], ids=["whole", "rows", "columns", "columns of inputs"])
def test_vectors_longer_than_a_segment(tmp_path: Path, shape: tuple[int, ...], case: int) -> None:
    method, n, base, shared, each = CASES[case]
    if shape == (66_001, 3) and case in {5, 7}:
        shape = (7, 3)  # 70 001 rows of three would take the twin minutes
    if shape == (3, 66_001) and case == 8:
        shape = (3, 7)
    states = make_states({"t": shape}, n, [torch.float32], 1)
    paths = write_models(states, tmp_path)
    merge(make_recipe(method, paths, base=base, shared=shared, each=each), tmp_path / "out", threads=2)
    assert_is_twin(tmp_path / "out", method, states, base=base, shared=shared, each=each)


@pytest.mark.parametrize("dtypes", [[torch.bfloat16], [torch.float32, torch.float64]])
def test_fisher_weighs_every_element(tmp_path: Path, dtypes: list[torch.dtype]) -> None:
    states = make_states({"a": (30, 70), "b": (9000,)}, 3, dtypes, 2)
    paths = write_models(states, tmp_path)
    fisher = make_states({"a": (30, 70), "b": (9000,)}, 2, [torch.float32], 3)
    estimates = [
        {name: tensor.abs() * 1e-5 for name, tensor in state.items() if name != "ids"} for state in fisher
    ]
    files = write_models(estimates, tmp_path / "fisher")
    each = {"fisher": files, "weight": [1.0, 0.0, 2.5]}
    merge(make_recipe("fisher", paths, base=False, shared={}, each=each), tmp_path / "out")
    assert_is_twin(tmp_path / "out", "fisher", states, base=False, shared={}, each=each, estimates=estimates)


def test_a_negative_estimate_is_named(tmp_path: Path) -> None:
    states = make_states({"a": (9000,)}, 1, [torch.float32], 2)
    paths = write_models(states, tmp_path)
    estimate = {"a": torch.ones(9000)}
    estimate["a"][8123] = -1
    each = {"fisher": write_models([estimate], tmp_path / "fisher")}
    with pytest.raises(CheckpointError, match=r"fisher/m0/.*'a' is negative at index 8123"):
        merge(make_recipe("fisher", paths, base=False, shared={}, each=each), tmp_path / "out")


def test_gram_candidates_share_one_look(tmp_path: Path) -> None:
    states = make_states({"a": (40, 70)}, 2, [torch.bfloat16], 4)
    paths = write_models(states, tmp_path)
    recipe = make_recipe("nuslerp", paths, base=True, shared={}, each={"weight": [0.5, 0.5]})
    table = {"x": (0.5, 0.5), "y": (0.1, 0.9)}
    report = merge(recipe, tmp_path / "out", candidates=table)
    assert report.read_bytes == 2 * 3 * 40 * 70 * 2 + 3 * 70 * 8
    for name, row in table.items():
        assert_is_twin(
            tmp_path / "out" / name, "nuslerp", states, base=True, shared={}, each={"weight": list(row)}
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_bad_value_never_spreads(tmp_path: Path, bad: float) -> None:
    states = make_states({"a": (9000,)}, 2, [torch.float32], 5)
    states[2]["a"][77] = bad
    paths = write_models(states, tmp_path)
    recipe = make_recipe("model_stock", paths, base=True, shared={}, each={})
    with pytest.raises(CheckpointError, match=r"m2/.*'a' is NaN or infinite at index 77"):
        merge(recipe, tmp_path / "out", allow_nonfinite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m1", "m2"]


def test_weights_that_do_not_exist_leave_nothing_behind(tmp_path: Path) -> None:
    states = make_states({"a": (9000,)}, 3, [torch.float32], 6)
    states[2]["a"] = -states[1]["a"]
    states[3]["a"] = torch.zeros(9000)
    paths = write_models(states, tmp_path)
    with pytest.raises(RecipeError, match="directions of the experts cancel in tensor a"):
        merge(make_recipe("karcher", paths, base=False, shared={}, each={}), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m1", "m2", "m3"]


@pytest.mark.parametrize("name", ["consensus", "emr_unified", "ram", "ramplus_tl"])
def test_a_bad_element_is_named_though_it_moves_nothing(tmp_path: Path, name: str) -> None:
    states = make_states({"a": (9000,)}, 2, [torch.float32], 5)
    states[2]["a"][77] = float("nan")
    paths = write_models(states, tmp_path)
    with pytest.raises(CheckpointError, match=r"m2/.*'a' is NaN or infinite at index 77"):
        merge(make_recipe(name, paths, base=True, shared={}, each={}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stopped_merge_looks_again_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = make_states({f"t{i}": (300, 70) for i in range(12)}, 2, [torch.float32], 7)
    paths = write_models(states, tmp_path)
    recipe = make_recipe("model_stock", paths, base=True, shared={}, each={})
    merge(recipe, tmp_path / "whole")
    stop_half_way(recipe, tmp_path / "out", monkeypatch)
    seen: list[str] = []
    report = merge(
        recipe, tmp_path / "out", resume=True, progress=lambda done, total, what: seen.append(what)
    )
    assert report.resumed_bytes >= 12 * 300 * 70 * 4 // 2
    assert seen
    for name in ("model.safetensors", "manifest.json", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert Checkpoint(tmp_path / "out").metadata == Checkpoint(tmp_path / "whole").metadata
