"""`manifest.json`: the SHA-256 of every file of a checkpoint folder, and the check against it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.folder import MANIFEST_NAME, OF_THE_SYSTEM
from m2m.checkpoint.identity import check_unchanged, identity_of
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.errors import CheckpointError
from m2m.support.doors import read_json, require_file
from m2m.support.files import naming

NAME = MANIFEST_NAME
_SHAPE = {"files": {str: {"bytes": int, "sha256": str}}}


@dataclass(frozen=True)
class Verification:
    """What was checked and found right.

    Attributes:
        folders: Checkpoint folders.
        files: Files in them, their manifests not counted.
        nbytes: Bytes in those files.
    """

    folders: int
    files: int
    nbytes: int


def write_manifest(folder: Path, hashes: Mapping[str, str] | None = None, **facts: Any) -> None:
    """Hash the files of a finished folder and write its manifest.

    Args:
        folder: The folder; its files no longer change.
        hashes: SHA-256 by file name, of files that have been hashed already.
        **facts: What else the manifest should tell, as JSON.
    """
    known = hashes or {}
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": known.get(path.name) or hash_file(path)}
        for path in sorted(folder.iterdir())
        if path.name != NAME
    }
    text = json.dumps({"files": files, **facts}, indent=2, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Args:
        folder: A folder that m2m wrote.

    Returns:
        Its content; `files` is a table by file name.

    Raises:
        CheckpointError: If there is none, or it is malformed.
    """
    path = folder / NAME
    if not path.exists():
        raise CheckpointError(f"{folder}: has no {NAME}; only folders that m2m wrote can be verified")
    manifest: dict[str, Any] = read_json(path, "a manifest", CheckpointError, _SHAPE)
    inside = [name for name in manifest["files"] if "/" in name or name in ("", ".", "..")]
    if inside:
        raise CheckpointError(f"{path} is not a manifest: {inside[0]!r} is not the name of a file beside it")
    return manifest


def hash_file(path: Path) -> str:
    """Hash a file.

    Args:
        path: The file.

    Returns:
        Its SHA-256 as hex digits.

    Raises:
        CheckpointError: If it changes meanwhile.
    """  # noqa: DOC502 - raised by what is called
    require_file(path, "a file of a checkpoint", CheckpointError)
    with naming(path), path.open("rb") as file:
        before = identity_of(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    check_unchanged({path: before})
    return digest


def verify(folder: str | Path) -> Verification:
    """Check a folder that m2m wrote: every file is there, is what it was, and nothing was added.

    Args:
        folder: A checkpoint folder, or a folder of candidates with a checkpoint folder each.

    Returns:
        What was checked.

    Raises:
        CheckpointError: If there is no manifest, or files are missing, changed or new; names each.
    """
    root = Path(folder)
    if not root.is_dir():
        raise CheckpointError(f"{root}: no such folder")
    candidates = [path.parent for path in sorted(root.glob(f"*/{NAME}"))]
    roots = [root] if (root / NAME).exists() or not candidates else candidates
    problems = [problem for one in roots for problem in _problems(one)]
    if problems:
        raise CheckpointError(f"{root}: does not match its manifest: " + "; ".join(problems))
    for one in roots:
        adapter = one / ADAPTER_NAMES[0]
        _ = Checkpoint(
            adapter if adapter.exists() else one
        ).tensors  # the headers hold together, and agree with the index
    entries = [entry for one in roots for entry in read_manifest(one)["files"].values()]
    return Verification(len(roots), len(entries), sum(entry["bytes"] for entry in entries))


def _problems(folder: Path) -> list[str]:
    listed = read_manifest(folder)["files"]
    present = {path.name for path in folder.iterdir()} - {NAME, *OF_THE_SYSTEM}
    problems = [f"{folder.name}/{name} is missing" for name in sorted(listed.keys() - present)]
    problems += [f"{folder.name}/{name} is not in the manifest" for name in sorted(present - listed.keys())]
    for name in sorted(listed.keys() & present):
        wanted, path = listed[name], folder / name
        if not path.is_file():
            problems.append(f"{folder.name}/{name} is not a file")
        elif path.stat().st_size != wanted["bytes"]:
            problems.append(f"{folder.name}/{name} has {path.stat().st_size} bytes, wanted {wanted['bytes']}")
        elif hash_file(path) != wanted["sha256"]:
            problems.append(f"{folder.name}/{name} has changed: its SHA-256 differs")
    return problems
