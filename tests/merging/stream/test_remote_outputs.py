"""What is written elsewhere has the local merge's bytes, is never finished before it is, and is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from helpers.disk_store import ROOT, SCHEME, DiskStore, register
from helpers.packed_executor import Packed

from m2m.checkpoint import Checkpoint, save, verify
from m2m.checkpoint.remote.destination import Destination
from m2m.errors import CheckpointError, ConfigError, RunFolderError
from m2m.merging import merge
from m2m.merging.stream.destination_journal import JOURNAL_NAME
from m2m.merging.stream.passes import InterruptedMergeError

LAYERS, WIDTH = 6, 64
TENSOR = WIDTH * WIDTH * 4
#: A shard for each two layers.
SHARDS = {"shard_size": 2 * TENSOR}

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
    monkeypatch.setenv("M2M_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(ROOT, str(tmp_path / "store"))
    monkeypatch.setattr("m2m.checkpoint.remote.requests.PAUSES", (0.0,))
    register()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(5)
    for number in range(2):
        state = {f"layers.{i}.weight": torch.randn(WIDTH, WIDTH, generator=generator) for i in range(LAYERS)}
        folder = save(state, tmp_path / "models" / f"m{number}")
        (folder / "config.json").write_text('{"model_type": "tiny"}')
    return tmp_path / "models"


def recipe(models: Path) -> dict[str, Any]:
    experts = [{"model": str(models / f"m{i}"), "parameters": {"weight": 0.5}} for i in range(2)]
    return {"merge_method": "linear", "models": experts}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_a_shard_that_cannot_be_sent_is_named_and_the_rest_stays(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = DiskStore.put_file

    def refuse(self: DiskStore, lpath: str, rpath: str, **rest: Any) -> None:
        if "00002" in rpath:
            raise PermissionError("no")
        put(self, lpath, rpath, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(DiskStore, "put_file", refuse)
        with pytest.raises(InterruptedMergeError, match=rf"{SCHEME}://out/model-00002-.*: no permission"):
            merge(recipe(models), f"{SCHEME}://out", executor=Packed(1), **SHARDS)
    assert files_of(tmp_path / "store" / "out").keys() == {JOURNAL_NAME, "model-00001-of-00003.safetensors"}
    merge(recipe(models), f"{SCHEME}://out", resume=True, executor=Packed(1), **SHARDS)
    merge(recipe(models), tmp_path / "local", **SHARDS)
    assert files_of(tmp_path / "store" / "out") == files_of(tmp_path / "local")


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


def test_what_is_there_is_left(models: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "out").mkdir(parents=True)
    (tmp_path / "store" / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match=rf"^{SCHEME}://out: holds thesis.txt already"):
        merge(recipe(models), f"{SCHEME}://out")
    assert files_of(tmp_path / "store" / "out") == {"thesis.txt": b"years of work"}


WAYS = pytest.mark.parametrize("way", [{}, {"executor": Packed(1)}], ids=["alone", "workers"])


def taken_over(journal: Path) -> Any:
    """Progress in which another merge takes the destination, and has a shard there."""

    def take(done: int, total: int, what: str) -> None:
        if done:
            journal.write_text(json.dumps({**json.loads(journal.read_text()), "owner": "somebody else"}))
            (journal.parent / "model-00003-of-00003.safetensors").write_text("of the other")

    return take


@WAYS
def test_another_merge_at_the_same_place_is_noticed_before_anything_is_sent(
    models: Path, tmp_path: Path, way: dict[str, Any]
) -> None:
    journal = tmp_path / "store" / "out" / JOURNAL_NAME
    with pytest.raises(RunFolderError, match="another merge is writing it"):
        merge(recipe(models), f"{SCHEME}://out", progress=taken_over(journal), **way, **SHARDS)
    there = files_of(journal.parent)
    assert there.keys() == {JOURNAL_NAME, "model-00003-of-00003.safetensors"}
    assert there["model-00003-of-00003.safetensors"] == b"of the other"


@WAYS
def test_what_another_merge_has_there_is_left_to_it(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    journal, write = tmp_path / "store" / "out" / JOURNAL_NAME, DiskStore.pipe_file

    def taken_at_once(self: DiskStore, path: str, value: bytes, **rest: Any) -> None:
        write(self, path, value, **rest)
        taken_over(journal)(1, 1, "")

    spoil(models, 0)
    monkeypatch.setattr(DiskStore, "pipe_file", taken_at_once)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        merge(recipe(models), f"{SCHEME}://out", **way, **SHARDS)
    assert (journal.parent / "model-00003-of-00003.safetensors").read_text() == "of the other"


@WAYS
def test_options_that_do_not_serve_lose_nothing(models: Path, tmp_path: Path, way: dict[str, Any]) -> None:
    out = f"{SCHEME}://out"
    stop_late(models, out, **way)
    before = files_of(tmp_path / "store")
    assert len(before) > 1
    with pytest.raises(ConfigError, match="is too small"):
        merge(recipe(models), out, resume=True, cache_size=TENSOR, **way, **SHARDS)
    assert files_of(tmp_path / "store") == before


def test_one_process_makes_what_workers_left_out(models: Path, tmp_path: Path) -> None:
    merge(recipe(models), tmp_path / "local", **SHARDS)
    out, there = f"{SCHEME}://out", tmp_path / "store" / "out"
    stop_late(models, out, executor=Packed(1))
    (there / "model-00001-of-00003.safetensors").unlink()
    report = merge(recipe(models), out, resume=True, **SHARDS)
    assert files_of(there) == files_of(tmp_path / "local")
    assert (report.resumed_bytes, report.written_bytes) == (2 * TENSOR, 4 * TENSOR)


@WAYS
def test_a_shard_that_is_gone_at_the_end_is_named(models: Path, tmp_path: Path, way: dict[str, Any]) -> None:
    there = tmp_path / "store" / "out"

    def lose(done: int, total: int, what: str) -> None:
        if done == total:
            (there / "model-00001-of-00003.safetensors").unlink(missing_ok=True)

    with pytest.raises(
        RunFolderError, match=r"out/model-00001-.*: is not there as it was sent; all that work"
    ):
        merge(recipe(models), f"{SCHEME}://out", progress=lose, **way, **SHARDS)
    assert not (there / "manifest.json").exists()


def test_what_is_finished_is_verified_where_that_is_asked_for(models: Path, tmp_path: Path) -> None:
    merge(recipe(models), f"{SCHEME}://out", **SHARDS)
    shard = tmp_path / "store" / "out" / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert merge(recipe(models), f"{SCHEME}://out", resume=True, **SHARDS).written_bytes == 0
    with pytest.raises(RunFolderError, match=r"out/model-00002-of-00003.safetensors: is not what was sent"):
        merge(recipe(models), f"{SCHEME}://out", resume=True, verify=True, **SHARDS)


def test_memory_of_this_process_is_nothing_for_workers(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^memory://x/y: is this process's memory, which no worker sees"):
        merge(recipe(models), "memory://x/y", workers=2, **SHARDS)
    fsspec.filesystem("memory").put(str(models), "/of-workers", recursive=True)
    experts = [{"model": f"memory://of-workers/m{i}", "parameters": {"weight": 0.5}} for i in range(2)]
    with pytest.raises(ConfigError, match=r"^memory://of-workers/m0/model\.safetensors: is this process's"):
        merge({"merge_method": "linear", "models": experts}, tmp_path / "out", workers=2, **SHARDS)


def test_what_ended_workers_left_in_the_cache_goes(models: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".work.0123abcd.new"
    spoil(models)

    def leave(done: int, total: int, what: str) -> None:
        left.mkdir(parents=True, exist_ok=True)

    with pytest.raises(CheckpointError, match="NaN or infinite"):
        merge(recipe(models), f"{SCHEME}://out", executor=Packed(1), progress=leave, **SHARDS)
    assert not [*(tmp_path / "cache").iterdir()]


def test_a_cache_that_cannot_be_made_is_named(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2M_REMOTE_CACHE", "/proc/nowhere")
    with pytest.raises(ConfigError, match=r"^/proc/nowhere: cannot be made to keep .* M2M_REMOTE_CACHE$"):
        merge(recipe(models), f"{SCHEME}://out", **SHARDS)


def test_that_nothing_can_be_removed_does_not_hide_why(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: DiskStore, path: str) -> None:
        raise PermissionError("no")

    spoil(models)
    monkeypatch.setattr(DiskStore, "rm_file", refuse)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        merge(recipe(models), f"{SCHEME}://out", executor=Packed(1), **SHARDS)
    assert "what was sent cannot be removed: no permission" in caplog.text


def spoil(models: Path, layer: int = LAYERS - 1) -> None:
    """Put a NaN into a layer."""
    weight = Checkpoint(models / "m1").tensors[f"layers.{layer}.weight"]
    with weight.file.open("r+b") as file:
        file.seek(weight.offset)
        file.write(b"\xff" * 4)


def stop_late(models: Path, out: str, **way: Any) -> None:
    """Stop in the last shard: the first is there, and of workers' the second."""

    def stop(done: int, total: int, what: str) -> None:
        if done > 0.9 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe(models), out, progress=stop, **way, **SHARDS)
    for thread in threading.enumerate():  # what was being sent comes to its end
        if thread.name == "remote":
            thread.join()


def test_a_bucket_that_is_not_there_is_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: DiskStore, path: str, value: bytes, **_: Any) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(DiskStore, "pipe_file", missing)
    with pytest.raises(CheckpointError, match=rf"^{SCHEME}://nowhere/out: there is no such bucket$"):
        merge(recipe(models), f"{SCHEME}://nowhere/out")


@WAYS
def test_bad_input_leaves_nothing(models: Path, tmp_path: Path, way: dict[str, Any]) -> None:
    spoil(models)
    with pytest.raises(CheckpointError, match="NaN or infinite at index 0"):
        merge(recipe(models), f"{SCHEME}://out", **way, **SHARDS)
    assert files_of(tmp_path / "store") == {}


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("https://example.org/out", {}, r"^https://example.org/out: a web server takes no files"),
        ("file:///tmp/out", {}, r"^file:///tmp/out: is a local path: write it without file://"),
        (f"{SCHEME}://out", {"statistics": True}, "written to a local folder only"),
        (
            f"{SCHEME}://out",
            {"cache_size": "1kB"},
            r"cache_size=1kB is too small: shards that are put together",
        ),
        (
            f"{SCHEME}://out",
            {"cache_size": 2 * TENSOR, "shard_size": 2 * TENSOR, "workers": 2},
            r"too small: shards that are put together and sent take 32\.\d KiB of 16\.0 KiB",
        ),
    ],
)
def test_refusals(models: Path, tmp_path: Path, out: str, options: dict[str, Any], said: str) -> None:
    base = {**recipe(models), "merge_method": "task_arithmetic", "base_model": str(models / "m0")}
    with pytest.raises((CheckpointError, ConfigError, RunFolderError), match=said):
        merge(base, out, **options)
    assert not (tmp_path / "store").exists() or files_of(tmp_path / "store") == {}
