"""Models as downloads leave them: pointers of Git LFS, the hub's cache, folders that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from m2m.checkpoint import Checkpoint, save
from m2m.errors import CheckpointError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
STATE = {"a.weight": torch.arange(4.0)}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"])
def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=rf"{name}: is a pointer of Git LFS, .* run git lfs pull"):
        _ = Checkpoint(tmp_path).tensors


def test_a_tokenizer_that_is_a_pointer_does_not_travel(tmp_path: Path) -> None:
    folder = save(STATE, tmp_path / "model")
    (folder / "tokenizer.json").write_text(POINTER)
    with pytest.raises(CheckpointError, match=r"tokenizer.json: is a pointer of Git LFS"):
        _ = Checkpoint(folder).side_files


def cached(root: Path, *commits: str, main: str = "") -> Path:
    """Lay models into a cache of the hub's as its client does: snapshots of links to blobs."""
    (root / "refs").mkdir(parents=True)
    for number, commit in enumerate(commits):
        blob = save({"a.weight": torch.full((2,), float(number))}, root / "blobs" / commit)
        (root / "snapshots" / commit).mkdir(parents=True)
        (root / "snapshots" / commit / "model.safetensors").symlink_to(blob / "model.safetensors")
    if main:
        (root / "refs" / "main").write_text(main)
    return root


def test_a_model_in_the_hubs_cache_is_its_snapshot(tmp_path: Path) -> None:
    model = cached(tmp_path / "models--org--name", "c0", "c1", main="c1")
    assert Checkpoint(model).read("a.weight").tolist() == [1.0, 1.0]
    assert Checkpoint(model, "c0").read("a.weight").tolist() == [0.0, 0.0]
    alone = cached(tmp_path / "models--org--alone", "c0")
    assert Checkpoint(alone).read("a.weight").tolist() == [0.0, 0.0]


def test_a_snapshot_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = cached(tmp_path / "models--org--name", "c0", "c1")
    with pytest.raises(CheckpointError, match=r"the snapshot 'main' is not there; name one of c0, c1"):
        Checkpoint(model)
    with pytest.raises(CheckpointError, match=r"the snapshot 'v2' is not there"):
        Checkpoint(model, "v2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model-00001-of-00002.safetensors", "it has the shard .* but no model.safetensors.index.json"),
        ("pytorch_model-00001-of-00002.bin", "it has the shard .* but no pytorch_model.bin.index.json"),
        ("weights.safetensors", "name that file itself: .*/weights.safetensors"),
        ("model.Q4_K_M.gguf", "is GGUF, which is not merged"),
        ("training_args.bin", "wanted one of model.safetensors, "),
    ],
)
def test_a_folder_without_a_checkpoint_says_what_is_there(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"holds no checkpoint; .*{said}"):
        Checkpoint(tmp_path)
