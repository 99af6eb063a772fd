"""What is written elsewhere has the local merge's bytes, is never finished before it is, and is resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from helpers.disk_store import SCHEME
from helpers.packed_executor import Packed
from helpers.sent_merges import (
    LAYERS,
    SHARDS,
    TENSOR,
    files_of,
    recipe,
    stop_late,
    use_store,
    write_models,
)

from m2m.checkpoint import Checkpoint, verify
from m2m.checkpoint.remote.destination import Destination
from m2m.errors import CheckpointError, RunFolderError
from m2m.merging import merge
from m2m.merging.stream.destination_journal import JOURNAL_NAME

#: Merges to the store, and kills itself once so many shards are there.
CHILD = """
import os, signal, sys
from helpers.disk_store import register
from m2m.merging import merge
from m2m.merging.stream import destination_journal

register()
folder, shards = sys.argv[1], int(sys.argv[2])
models = [{"model": f"{folder}/m{i}", "parameters": {"weight": 0.5}} for i in range(2)]
note = destination_journal.Journal.add

def add(self, name, digest):
    if len(self.done) == shards:
        os.kill(os.getpid(), signal.SIGKILL)
    note(self, name, digest)

destination_journal.Journal.add = add
report = merge({"merge_method": "linear", "models": models}, "diskstore://out/x", shard_size=int(sys.argv[3]),
               resume=True)
print(report.resumed_bytes)
"""


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(tmp_path, monkeypatch)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models")


@pytest.mark.parametrize("workers", [None, 2])
def test_the_same_files_as_the_local_merge(models: Path, tmp_path: Path, workers: int | None) -> None:
    merge(recipe(models), tmp_path / "local", **SHARDS)
    report = merge(recipe(models), f"{SCHEME}://out/x", verify=True, workers=workers, **SHARDS)
    there = tmp_path / "store" / "out" / "x"
    assert files_of(there) == files_of(tmp_path / "local")
    assert verify(there).files == len(files_of(there)) - 1
    assert (report.out, report.folders) == (f"{SCHEME}://out/x", (f"{SCHEME}://out/x",))
    assert report.sent_bytes == sum(path.stat().st_size for path in there.glob("*.safetensors"))
    assert not [*(tmp_path / "cache").iterdir()]


def test_candidates_in_one_file_each(models: Path, tmp_path: Path) -> None:
    rows = {"x": [0.5, 0.5], "y": [1.5, -0.5]}
    merge(recipe(models), tmp_path / "local", candidates=rows)
    merge(recipe(models), "memory://candidates/out", candidates=rows)
    memory = fsspec.filesystem("memory")
    found = {
        name.removeprefix("/candidates/out/"): memory.cat_file(name)
        for name in memory.find("/candidates/out")
    }
    assert found == files_of(tmp_path / "local")


def test_what_tells_that_all_is_there_comes_last(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    put = Destination.put

    def noted(self: Destination, file: Path, name: str) -> None:
        order.append(name)
        put(self, file, name)

    monkeypatch.setattr(Destination, "put", noted)
    merge(recipe(models), f"{SCHEME}://sharded", **SHARDS)
    assert sorted(order[:3]) == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert order[3:] == ["README.md", "config.json", "model.safetensors.index.json", "manifest.json"]
    order.clear()
    merge(recipe(models), f"{SCHEME}://single")
    assert order == ["README.md", "config.json", "model.safetensors", "manifest.json"]


def test_workers_send_what_they_merged_of_models_elsewhere(models: Path, tmp_path: Path) -> None:
    rows = {"x": [0.5, 0.5], "y": [1.5, -0.5]}
    (tmp_path / "store").mkdir()
    models.rename(tmp_path / "store" / "models")
    experts = [{"model": f"{SCHEME}://models/m{i}", "parameters": {"weight": 0.5}} for i in range(2)]
    far = {"merge_method": "linear", "models": experts}
    merge(far, tmp_path / "local", candidates=rows, **SHARDS)
    report = merge(far, f"{SCHEME}://out", candidates=rows, executor=Packed(1), verify=True, **SHARDS)
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")
    weights = [*(tmp_path / "local").rglob("*.safetensors")]
    assert report.fetched_bytes == 2 * LAYERS * TENSOR
    assert report.sent_bytes == sum(path.stat().st_size for path in weights)
    assert not [*(tmp_path / "cache").iterdir()]


def test_one_file_is_nothing_to_share_out(models: Path, tmp_path: Path) -> None:
    merge(recipe(models), tmp_path / "local")
    merge(recipe(models), f"{SCHEME}://out", executor=Packed(1))
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")


@pytest.mark.parametrize("by_workers_first", [True, False])
def test_either_goes_on_with_what_the_other_sent(
    models: Path, tmp_path: Path, by_workers_first: bool
) -> None:
    merge(recipe(models), tmp_path / "local", **SHARDS)
    ways: list[dict[str, Any]] = [{"executor": Packed(1)}, {}]
    first, then = ways if by_workers_first else reversed(ways)
    stop_late(models, f"{SCHEME}://out", **first)
    sent = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store" / "out").glob("*.safetensors")}
    assert sent
    merge(recipe(models), f"{SCHEME}://out", resume=True, **then, **SHARDS)
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")
    known = [
        name for name, at in sent.items() if (tmp_path / "store" / "out" / name).stat().st_mtime_ns == at
    ]
    assert known


@pytest.mark.slow
@pytest.mark.parametrize("shards", [0, 1, 2])
def test_killed_and_resumed(models: Path, tmp_path: Path, shards: int) -> None:
    merge(recipe(models), tmp_path / "local", **SHARDS)
    there = tmp_path / "store" / "out" / "x"

    def run(most: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", CHILD, str(models), str(most), str(SHARDS["shard_size"])]
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    killed = run(shards)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = files_of(there)
    assert JOURNAL_NAME in left
    assert not {"manifest.json", "model.safetensors.index.json", "config.json"} & left.keys()
    with pytest.raises(CheckpointError, match=r"has the shard|holds no checkpoint"):
        _ = Checkpoint(f"{SCHEME}://out/x").tensors
    resumed = run(100)
    assert resumed.returncode == 0, resumed.stderr
    assert int(resumed.stdout) == shards * 2 * TENSOR
    assert files_of(there) == files_of(tmp_path / "local")


def test_stopped_and_resumed(models: Path, tmp_path: Path) -> None:
    merge(recipe(models), tmp_path / "local", **SHARDS)

    def stop(done: int, total: int, what: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(models), f"{SCHEME}://out", progress=stop, cache_size=10 * TENSOR, **SHARDS)
    with pytest.raises(RunFolderError, match="unfinished merge of another recipe"):
        merge({**recipe(models), "dtype": "bfloat16"}, f"{SCHEME}://out", resume=True)
    merge(recipe(models), f"{SCHEME}://out", resume=True, **SHARDS)
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")
    again = merge(recipe(models), f"{SCHEME}://out", resume=True, **SHARDS)
    assert (again.written_bytes, again.resumed_bytes) == (0, LAYERS * TENSOR)


@pytest.mark.parametrize("last", ["config.json", "model.safetensors.index.json", "manifest.json"])
def test_stopped_while_all_is_put_in_place(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    put = Destination.put

    def stop(self: Destination, file: Path, name: str) -> None:
        put(self, file, name)
        if name == last:
            raise KeyboardInterrupt

    merge(recipe(models), tmp_path / "local", **SHARDS)
    with monkeypatch.context() as patched:
        patched.setattr(Destination, "put", stop)
        with pytest.raises(KeyboardInterrupt):
            merge(recipe(models), f"{SCHEME}://out", **SHARDS)
    report = merge(recipe(models), f"{SCHEME}://out", resume=True, **SHARDS)
    assert (report.written_bytes, report.resumed_bytes) == (0, LAYERS * TENSOR)
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")


def test_without_resume_what_was_left_goes(models: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(models), f"{SCHEME}://out", progress=stop, shard_size=TENSOR)
    merge(recipe(models), tmp_path / "local", **SHARDS)
    merge(recipe(models), f"{SCHEME}://out", **SHARDS)
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")


def test_one_process_makes_what_workers_left_out(models: Path, tmp_path: Path) -> None:
    merge(recipe(models), tmp_path / "local", **SHARDS)
    out, there = f"{SCHEME}://out", tmp_path / "store" / "out"
    stop_late(models, out, executor=Packed(1))
    (there / "model-00001-of-00003.safetensors").unlink()
    report = merge(recipe(models), out, resume=True, **SHARDS)
    assert files_of(there) == files_of(tmp_path / "local")
    assert (report.resumed_bytes, report.written_bytes) == (2 * TENSOR, 4 * TENSOR)


def test_what_is_finished_is_verified_where_that_is_asked_for(models: Path, tmp_path: Path) -> None:
    merge(recipe(models), f"{SCHEME}://out", **SHARDS)
    shard = tmp_path / "store" / "out" / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert merge(recipe(models), f"{SCHEME}://out", resume=True, **SHARDS).written_bytes == 0
    with pytest.raises(RunFolderError, match=r"out/model-00002-of-00003.safetensors: is not what was sent"):
        merge(recipe(models), f"{SCHEME}://out", resume=True, verify=True, **SHARDS)
