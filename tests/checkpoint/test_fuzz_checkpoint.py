"""Damaged checkpoints on disk: `Checkpoint` refuses them by name, or reads exactly what is there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.json_mutations import EDGES, mutate_json
from hypothesis import given, settings
from hypothesis import strategies as st

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError

STATE = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "c": torch.arange(4),
    "empty": torch.zeros(0, 3),
}


def open_all(path: Path) -> dict[str, torch.Tensor]:
    """Use everything a checkpoint offers."""
    checkpoint = Checkpoint(path)
    assert set(checkpoint.names) == set(checkpoint.tensors) | set(checkpoint.tied)
    assert all(file.resolve().is_relative_to(path.resolve()) for file in checkpoint.side_files)
    return checkpoint.state()


def read_back(path: Path) -> None:
    """Refused, or every tensor is made of the very bytes that its header points to."""
    try:
        state = open_all(path)
        infos = Checkpoint(path).tensors
    except CheckpointError:
        return
    for name, info in infos.items():
        stored = info.file.read_bytes()[info.offset : info.offset + info.nbytes]
        assert state[name].shape == info.shape
        assert state[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() == stored


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return ((len(header) if length is None else length) % 2**64).to_bytes(8, "little") + header + data


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(STATE, tmp_path_factory.mktemp("good") / "m")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(STATE, tmp_path_factory.mktemp("sharded") / "m", shard_size=24)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "m"


def copied(checkpoint: Path, scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    return Path(shutil.copytree(checkpoint, scratch))


@settings(max_examples=150)
@given(data=st.data())
def test_headers_with_other_values_are_refused_or_read_right(
    good: Path, scratch: Path, data: st.DataObject
) -> None:
    file = copied(good, scratch) / "model.safetensors"
    header, tensors = split(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        mutate_json(header, data)
    tensors = tensors[: data.draw(st.sampled_from([len(tensors), len(tensors) - 1, 0]))]
    length = data.draw(st.none() | st.sampled_from([edge for edge in EDGES if edge >= 0]))
    file.write_bytes(joined(json.dumps(header).encode(), tensors, length))
    read_back(scratch)


@settings(max_examples=150)
@given(data=st.data())
def test_files_with_other_bytes_are_refused_or_read_right(
    good: Path, scratch: Path, data: st.DataObject
) -> None:
    file = copied(good, scratch) / "model.safetensors"
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        to = at + data.draw(st.integers(0, 20))
        content[at:to] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b'"', b"}", b"NaN", b"1e9", b"\xff", b"\0"])
        )
    file.write_bytes(content)
    read_back(scratch)


@settings(max_examples=150)
@given(data=st.data())
def test_indexes_with_other_values_are_refused_or_read_right(
    sharded: Path, scratch: Path, data: st.DataObject
) -> None:
    path = copied(sharded, scratch) / "model.safetensors.index.json"
    index = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        mutate_json(index, data)
    path.write_bytes(json.dumps(index).encode())
    read_back(scratch)
    assert sorted(scratch.parent.iterdir()) == [scratch]


@settings(max_examples=60)
@given(text=st.binary(max_size=12))
def test_an_index_of_any_bytes_is_refused(sharded: Path, scratch: Path, text: bytes) -> None:
    (copied(sharded, scratch) / "model.safetensors.index.json").write_bytes(text)
    with pytest.raises(CheckpointError):
        open_all(scratch)


NOT_FILES = {
    "a directory": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", NOT_FILES)
@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path, what: str, name: str) -> None:
    folder = save(STATE, tmp_path / "m", shard_size=24 if "index" in name else None)
    (folder / name).unlink()
    NOT_FILES[what](folder / name)
    with pytest.raises(CheckpointError) as refused:
        open_all(folder)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("what", NOT_FILES)
def test_a_shard_that_is_not_a_file_is_refused_at_once(tmp_path: Path, what: str) -> None:
    folder = save(STATE, tmp_path / "m", shard_size=24)
    shard = max(folder.glob("*.safetensors"))
    shard.unlink()
    NOT_FILES[what](shard)
    with pytest.raises(CheckpointError, match=shard.name):
        open_all(folder)


def test_links_as_the_hub_client_lays_them_out_are_followed(tmp_path: Path) -> None:
    blobs = save(STATE, tmp_path / "blobs", shard_size=24)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    state = Checkpoint(snapshot).state()
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in STATE.items())


def test_a_repeated_name_in_an_index_is_refused(tmp_path: Path) -> None:
    folder = save(STATE, tmp_path / "m", shard_size=24)
    path = folder / "model.safetensors.index.json"
    shard = json.loads(path.read_bytes())["weight_map"]["a"]
    text = path.read_text().replace('"weight_map": {', f'"weight_map": {{"a": "{shard}",')
    path.write_text(text)
    with pytest.raises(CheckpointError, match="'a' occurs twice"):
        open_all(folder)
