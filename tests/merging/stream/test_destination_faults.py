"""Destinations that are taken, refuse or lose files: one clear error, and nothing of anybody's is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest
from helpers.disk_store import SCHEME, DiskStore
from helpers.packed_executor import Packed
from helpers.sent_merges import (
    SHARDS,
    TENSOR,
    WAYS,
    files_of,
    recipe,
    spoil,
    stop_late,
    use_store,
    write_models,
)

from m2m.errors import CheckpointError, ConfigError, RunFolderError
from m2m.merging import merge
from m2m.merging.stream.destination_journal import JOURNAL_NAME
from m2m.merging.stream.passes import InterruptedMergeError


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(tmp_path, monkeypatch)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models")


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


def test_what_is_there_is_left(models: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "out").mkdir(parents=True)
    (tmp_path / "store" / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match=rf"^{SCHEME}://out: holds thesis.txt already"):
        merge(recipe(models), f"{SCHEME}://out")
    assert files_of(tmp_path / "store" / "out") == {"thesis.txt": b"years of work"}


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
