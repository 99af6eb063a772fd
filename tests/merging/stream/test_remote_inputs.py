"""Models that lie elsewhere merge into the same bytes; what is needed comes once, in a bounded cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from helpers.lora_files import factors, save_adapter
from helpers.packed_executor import Packed
from helpers.range_server import RangeServer, serving

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError, ConfigError
from m2m.merging import merge
from m2m.merging.stream import supply
from m2m.merging.stream.passes import InterruptedMergeError

NAMES = ("base", "left", "right")
LAYERS, WIDTH = 6, 128
TENSOR = WIDTH * WIDTH * 4


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2M_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("m2m.checkpoint.remote.requests.PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(5)
    base = {f"layers.{i}.weight": torch.randn(WIDTH, WIDTH, generator=generator) for i in range(LAYERS)}
    for name in NAMES:
        moved = {key: w + 0.01 * torch.randn(w.shape, generator=generator) for key, w in base.items()}
        folder = save(moved, tmp_path / "models" / name, shard_size="150kB")
        (folder / "config.json").write_text('{"model_type": "tiny"}')
    return tmp_path / "models"


@pytest.fixture
def server(models: Path) -> Iterator[RangeServer]:
    with serving(models) as served:
        yield served


def recipe(at: object, method: str = "task_arithmetic") -> dict[str, Any]:
    experts = [{"model": f"{at}/{name}", "parameters": {"weight": 0.4}} for name in NAMES[1:]]
    return {"merge_method": method, "base_model": f"{at}/base", "models": experts}


def data_of(folder: Path) -> dict[str, bytes]:
    """Bytes of tensors by name; headers tell the recipe, and so where the models were."""
    checkpoint = Checkpoint(folder)
    return {
        info.name: info.file.read_bytes()[info.offset : info.offset + info.nbytes]
        for info in checkpoint.tensors.values()
    }


def tensor_bytes(server: RangeServer, folder: Path) -> int:
    """Bytes that a server gave of tensors, not of headers."""
    starts = {}
    for name in NAMES:
        for info in Checkpoint(folder / name).tensors.values():
            where = str(info.file.relative_to(folder))
            starts[where] = min(starts.get(where, info.offset), info.offset)
    return sum(end - begin for name, begin, end in server.served if begin >= starts.get(name, 1 << 60))


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_same_bytes_each_once_within_the_cache(
    models: Path, server: RangeServer, tmp_path: Path, method: str, workers: int | None
) -> None:
    merge(recipe(models, method), tmp_path / "local", shard_size="200kB")
    far, room = recipe(server.url, method), 7 * TENSOR  # of each worker
    report = merge(
        far, tmp_path / "far", shard_size="200kB", cache_size=room * (workers or 1), workers=workers
    )
    assert data_of(tmp_path / "far") == data_of(tmp_path / "local")
    assert report.fetched_bytes == 3 * LAYERS * TENSOR
    assert 3 * TENSOR <= report.peak_cache_bytes <= 7 * TENSOR
    # The only others are a few rows that are looked at first, to tell models of another origin.
    looked_at = tensor_bytes(server, models) - report.fetched_bytes
    assert 0 < looked_at <= 4 * LAYERS * TENSOR
    assert not [*(tmp_path / "cache").iterdir()]
    assert (tmp_path / "far" / "config.json").is_file()


def test_disk_stays_bounded(server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    keep = supply.Supply.done

    def measured(self: supply.Supply, end: int) -> None:
        files = (tmp_path / "cache").rglob("*.safetensors")
        if self._room == 3 * TENSOR:  # not the look at a few rows before
            taken.append(sum(os.stat(file).st_blocks * 512 for file in files))
        keep(self, end)

    monkeypatch.setattr(supply.Supply, "done", measured)
    merge(recipe(server.url), tmp_path / "far", cache_size=3 * TENSOR)
    blocks = 3 * LAYERS * 2 * 4096  # headers, and blocks that pieces share
    assert len(taken) == LAYERS
    assert max(taken) <= 3 * TENSOR + blocks < 3 * LAYERS * TENSOR


def test_only_what_slices_need_is_fetched(server: RangeServer, models: Path, tmp_path: Path) -> None:
    def sliced(at: object) -> dict[str, Any]:
        source = {"model": f"{at}/left", "layer_range": [1, 3]}
        again = {"model": f"{at}/left", "layer_range": [2, 3]}
        return {"merge_method": "passthrough", "slices": [{"sources": [source]}, {"sources": [again]}]}

    merge(sliced(models), tmp_path / "local")
    report = merge(sliced(server.url), tmp_path / "far")
    assert data_of(tmp_path / "far") == data_of(tmp_path / "local")
    assert report.fetched_bytes == tensor_bytes(server, models) == 2 * TENSOR


def test_a_tensor_used_again_without_room_comes_again(server: RangeServer, tmp_path: Path) -> None:
    parts = [{"sources": [{"model": f"{server.url}/left", "layer_range": [0, 3]}]}] * 2
    report = merge({"merge_method": "passthrough", "slices": parts}, tmp_path / "far", cache_size=TENSOR)
    assert report.peak_cache_bytes == TENSOR
    assert report.fetched_bytes > 3 * TENSOR


def test_a_cache_too_small_for_a_tensor_is_refused(server: RangeServer, tmp_path: Path) -> None:
    said = r"a cache of 128\.0 KiB \(cache_size, .* is too small: .*'layers\.\d\.weight' takes 192\.0 KiB"
    with pytest.raises(ConfigError, match=said):
        merge(recipe(server.url), tmp_path / "far", cache_size=2 * TENSOR)
    with pytest.raises(ConfigError, match=said):
        merge(recipe(server.url), tmp_path / "far", cache_size=4 * TENSOR, shard_size="200kB", workers=2)
    assert not (tmp_path / "far").exists()


def test_a_model_that_goes_away_is_told_and_nothing_is_left(
    models: Path, server: RangeServer, tmp_path: Path
) -> None:
    def removing(done: int, total: int, what: str) -> None:
        if done >= total // 3:
            for file in (models / "right").glob("*.safetensors"):
                file.unlink()

    with pytest.raises(CheckpointError, match=f"{server.url}/right/.*: changed while it was used"):
        merge(recipe(server.url), tmp_path / "far", shard_size="70kB", executor=Packed(1), progress=removing)
    assert not [*tmp_path.glob("*far*")]


def test_workers_share_the_memory_of_requests(server: RangeServer, tmp_path: Path) -> None:
    class Four(Packed):
        def beside(self, jobs: int) -> int:
            return 4

    merge(recipe(server.url), tmp_path / "far", shard_size="70kB", executor=Four(1))  # 64 MiB each
    assert (tmp_path / "far").exists()


def test_a_cache_too_small_for_workers_loses_nothing(server: RangeServer, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(server.url), tmp_path / "far", shard_size="70kB", progress=stop)
    left = [*tmp_path.rglob(".far*/**/*.safetensors")]
    assert left
    with pytest.raises(ConfigError, match="is too small"):
        merge(recipe(server.url), tmp_path / "far", shard_size="70kB", resume=True, cache_size=TENSOR)
    assert [*tmp_path.rglob(".far*/**/*.safetensors")] == left


def test_workers_name_a_connection_that_stays_broken_and_go_on(
    models: Path, server: RangeServer, tmp_path: Path
) -> None:
    by_workers: dict[str, Any] = {"shard_size": "70kB", "executor": Packed(1)}
    merge(recipe(models), tmp_path / "local", shard_size="70kB")

    def breaking(done: int, total: int, what: str) -> None:
        if done >= total // 3:
            server.forbidden = ".safetensors"

    with pytest.raises((CheckpointError, InterruptedMergeError), match=f"{server.url}/.*: no permission"):
        merge(recipe(server.url), tmp_path / "far", **by_workers, progress=breaking)
    assert not (tmp_path / "far").exists()
    server.forbidden = "\0"
    report = merge(recipe(server.url), tmp_path / "far", **by_workers, resume=True)
    assert data_of(tmp_path / "far") == data_of(tmp_path / "local")
    assert 0 < report.resumed_bytes < LAYERS * TENSOR
    assert not [*(tmp_path / "cache").iterdir()]


def test_cut_connections_are_made_again(server: RangeServer, models: Path, tmp_path: Path) -> None:
    merge(recipe(models), tmp_path / "local")
    server.cuts = 3
    merge(recipe(server.url), tmp_path / "far")
    assert server.cuts == 0
    assert data_of(tmp_path / "far") == data_of(tmp_path / "local")


def test_a_connection_that_stays_broken_is_named_and_resumed(
    server: RangeServer, models: Path, tmp_path: Path
) -> None:
    merge(recipe(models), tmp_path / "local")

    def cut_later(done: int, total: int, what: str) -> None:
        if done:
            server.cuts = 1_000

    with pytest.raises(InterruptedMergeError, match=r"http://.*safetensors: the connection failed 4 times"):
        merge(recipe(server.url), tmp_path / "far", cache_size=3 * TENSOR, progress=cut_later)
    assert not (tmp_path / "far").exists()
    server.cuts = 0
    server.served.clear()
    report = merge(recipe(server.url), tmp_path / "far", cache_size=3 * TENSOR, resume=True)
    assert 0 < report.resumed_bytes < LAYERS * TENSOR
    assert report.fetched_bytes == 3 * (LAYERS * TENSOR - report.resumed_bytes)
    assert data_of(tmp_path / "far") == data_of(tmp_path / "local")


def test_an_object_that_changes_is_told(server: RangeServer, models: Path, tmp_path: Path) -> None:
    def touch(done: int, total: int, what: str) -> None:
        if done:
            for file in (models / "left").glob("*.safetensors"):
                os.utime(file, ns=(1, 1))

    with pytest.raises(CheckpointError, match=r"^http://.*/left/model-.*: changed while it was used"):
        merge(recipe(server.url), tmp_path / "far", cache_size=3 * TENSOR, progress=touch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "models"]


def test_resume_refuses_what_changed_since(server: RangeServer, models: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(server.url), tmp_path / "far", cache_size=3 * TENSOR, progress=stop)
    for file in (models / "left").glob("*.safetensors"):
        os.utime(file, ns=(1, 1))
    with pytest.raises(CheckpointError, match=r"^http://.*/left/.*: changed since the merge was begun"):
        merge(recipe(server.url), tmp_path / "far", resume=True)


def test_adapters_elsewhere(models: Path, tmp_path: Path) -> None:
    modules = [factors(f"layers.{i}", WIDTH, WIDTH, 4, seed=i) for i in range(LAYERS)]
    save_adapter(models / "adapter", {name: part for each in modules for name, part in each.items()})
    memory = fsspec.filesystem("memory")
    memory.put(str(models), "/adapted", recursive=True)

    def adapted(at: object) -> dict[str, Any]:
        experts = [{"model": f"{at}/adapter", "parameters": {"weight": 0.5}}]
        return {"merge_method": "task_arithmetic", "base_model": f"{at}/base", "models": experts}

    merge(adapted(models), tmp_path / "local")
    merge(adapted("memory://adapted"), tmp_path / "far")
    assert data_of(tmp_path / "far") == data_of(tmp_path / "local")
