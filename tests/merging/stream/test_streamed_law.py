"""The law of the stream: its bits are those of `weighted_sum` on whole tensors, however it is cut up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers.linear_merges import merge_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2m import weighted_sum
from m2m.checkpoint import Checkpoint, save, verify
from m2m.merging.stream import memory

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def make_models(seed: int, sizes: list[int], n: int, dtypes: list[torch.dtype]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    models = []
    for _ in range(n):
        floats = {
            f"t{i}": torch.randn(size, generator=generator, dtype=torch.float64).to(dtypes[i % len(dtypes)])
            for i, size in enumerate(sizes)
        }
        models.append(floats | {"ids": torch.arange(700), "flag": torch.tensor(True)})
    return models


def expected(models: list[dict[str, Tensor]], weights: list[list[float]], m: int) -> dict[str, Tensor]:
    matrix = torch.tensor(weights, dtype=torch.float64)
    return {
        name: weighted_sum([model[name] for model in models], matrix)[m]
        if tensor.is_floating_point()
        else tensor
        for name, tensor in models[0].items()
    }


def assert_same_bits(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype, name
        bits = tensor.reshape(-1).contiguous().view(torch.uint8)
        assert torch.equal(got[name].reshape(-1).view(torch.uint8), bits), name


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=5),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3),
    n=st.integers(1, 4),
    m=st.integers(1, 3),
    threads=st.integers(1, 5),
    slot=st.sampled_from([4096, 8192, 128 * 1024]),
    in_shards=st.none() | st.integers(9000, 50_000),
    out_shard=st.sampled_from([9000, 40_000, 10**9]),
    data=st.data(),
)
def test_streamed_bits_are_those_of_whole_tensors(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    sizes: list[int],
    dtypes: list[torch.dtype],
    n: int,
    m: int,
    threads: int,
    slot: int,
    in_shards: int | None,
    out_shard: int,
    data: st.DataObject,
) -> None:
    weight = st.sampled_from([0.0, 1.0, -1.0, 1 / 3]) | st.floats(-2, 2)
    row = st.lists(weight, min_size=n, max_size=n).filter(any)
    weights = data.draw(st.lists(row, min_size=m, max_size=m))
    models = make_models(seed, sizes, n, dtypes)
    folder = tmp_path_factory.getbasetemp() / "law"
    shutil.rmtree(folder, ignore_errors=True)
    paths = [save(model, folder / str(i), shard_size=in_shards) for i, model in enumerate(models)]
    names = [f"c{i}" for i in range(m)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "SLOT_BYTES", slot)
        report = merge_linear(
            paths,
            weights,
            folder / "out",
            names=names,
            shard_size=out_shard,
            threads=threads,
        )
    assert report.slot_bytes == slot
    for i, name in enumerate(names):
        assert_same_bits(Checkpoint(folder / "out" / name).state(), expected(models, weights, i))
    assert verify(folder / "out").folders == m


@pytest.mark.parametrize("wide", [torch.float32, torch.float64])
def test_inputs_of_mixed_types_are_widened_exactly(tmp_path: Path, wide: torch.dtype) -> None:
    narrow = make_models(1, [5000], 3, [torch.bfloat16])
    mixed = [
        narrow[0],
        {**narrow[1], "t0": narrow[1]["t0"].half()},
        {**narrow[2], "t0": narrow[2]["t0"].to(wide)},
    ]
    widened = [{**model, "t0": model["t0"].to(wide)} for model in mixed]
    weights = [[0.25, 0.5, -0.75]]
    paths = [save(model, tmp_path / str(i)) for i, model in enumerate(mixed)]
    name = str(wide).removeprefix("torch.")
    merge_linear(paths, weights, tmp_path / "out", dtype=name)
    assert_same_bits(Checkpoint(tmp_path / "out").state(), expected(widened, weights, 0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_output_type_is_reached_with_one_rounding(tmp_path: Path, dtype: str) -> None:
    models = make_models(2, [3000], 2, [torch.float32])
    paths = [save(model, tmp_path / str(i)) for i, model in enumerate(models)]
    merge_linear(paths, [[0.3, 0.7]], tmp_path / "out", dtype=dtype)
    matrix = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    want = weighted_sum([model["t0"] for model in models], matrix, out_dtype=getattr(torch, dtype))[0]
    assert torch.equal(Checkpoint(tmp_path / "out").read("t0"), want)


def test_an_input_without_weight_is_not_read(tmp_path: Path) -> None:
    models = make_models(3, [4000], 3, [torch.float32])
    models[1]["t0"][17] = float("nan")
    paths = [save(model, tmp_path / str(i)) for i, model in enumerate(models)]
    report = merge_linear(paths, [[0.5, 0.0, 0.5]], tmp_path / "out")
    assert report.read_bytes == 2 * 4000 * 4 + 3 * (700 * 8 + 1)
    assert_same_bits(Checkpoint(tmp_path / "out").state(), expected(models, [[0.5, 0.0, 0.5]], 0))
