"""Checkpoints that m2m wrote, held against their manifests when they are used: a flipped bit is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.file_hashes import FileHashes
from m2m.checkpoint.manifest import NAME, read_manifest
from m2m.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def verified_state(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint folder that m2m wrote.

    Args:
        folder: The folder.

    Returns:
        Tensor by name; tied tensors are one object under both names.

    Raises:
        CheckpointError: If a file is not what the manifest says, or there is no manifest.
    """  # noqa: DOC502 - raised by what is called
    checkpoint, manifest = Checkpoint(folder), read_manifest(folder)
    with FileHashes(checkpoint.files) as hashes:
        for file in checkpoint.files:
            _check(file, hashes[file], manifest)
        state = checkpoint.state()
        hashes.check_unchanged()
    return state


def check_manifests(files: Iterable[Path], hashes: FileHashes) -> None:
    """Hold files against the manifests beside them, where m2m wrote one; waits for the files' hashes.

    Args:
        files: Files of checkpoints, the user's own or m2m's.
        hashes: Their hashes.

    Raises:
        CheckpointError: If a file is not what its manifest says.
    """  # noqa: DOC502 - raised by what is called
    for file in files:
        if manifest := _manifest_of_ours(file.parent):
            _check(file, hashes[file], manifest)


def _check(file: Path, digest: str, manifest: Mapping[str, Any]) -> None:
    listed = manifest["files"].get(file.name)
    if listed is not None and listed["sha256"] != digest:
        raise CheckpointError(
            f"{file} is not what m2m wrote there: its SHA-256 is not that of {NAME}; remove the folder to "
            f"make it anew, or, if the file was changed on purpose, only {NAME}"
        )


def _manifest_of_ours(folder: Path) -> dict[str, Any] | None:
    # Other programs write a manifest.json too, with other things in it.
    try:
        return read_manifest(folder)
    except CheckpointError:
        return None
