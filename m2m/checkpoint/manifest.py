"""`manifest.json`: the SHA-256 of every file of a checkpoint folder, and all that is held against it.

A folder that m2m wrote is verified on demand, and held against its manifest whenever it is used: a flipped
bit is found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.folder import MANIFEST_NAME, OF_THE_SYSTEM
from m2m.checkpoint.identity import Identity, check_unchanged, identity_of, require_unchanged
from m2m.checkpoint.locate import ADAPTER_NAMES
from m2m.errors import CheckpointError
from m2m.support.checked import checked
from m2m.support.doors import read_json, require_file
from m2m.support.files import naming

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK_BYTES = 1 << 20
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


def write_manifest(
    folder: Path,
    hashes: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
    **facts: Any,
) -> None:
    """Hash a finished folder's files, but for those in `hashes` (by name), and write its manifest."""
    # `sizes` are of files that it lists though they are not there any more.
    known = hashes or {}
    gone = {name: {"bytes": nbytes, "sha256": known[name]} for name, nbytes in (sizes or {}).items()}
    here = {
        name: {"bytes": path.stat().st_size, "sha256": known.get(name) or hash_file(path)}
        for name, path in _files_in(folder)
        if name != MANIFEST_NAME
    }
    files = dict(sorted((here | gone).items(), key=lambda item: item[0].split("/")))
    text = json.dumps({"files": files, **facts}, indent=2, ensure_ascii=False)
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Walk over a folder's files, sorted, each with its name there (`1_Pooling/config.json`)."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in OF_THE_SYSTEM:
            yield from ((f"{path.name}/{name}", inside) for name, inside in _files_in(path))
        elif not path.is_dir():
            yield path.name, path


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest; `files` is a table by file name."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        raise CheckpointError(f"{folder}: has no {path.name}; only folders that m2m wrote can be verified")
    manifest: dict[str, Any] = read_json(path, "a manifest", CheckpointError, _SHAPE)
    outside = [name for name in manifest["files"] if {"", ".", ".."} & set(name.split("/"))]
    if outside:
        raise CheckpointError(f"{path} is not a manifest: {outside[0]!r} is not the name of a file beside it")
    return manifest


def hash_file(path: Path) -> str:
    """SHA-256 of a file as hex digits; refuses one that changes meanwhile."""
    found = _hash(path, Event())
    check_unchanged({path: found.identity})
    return found.digest


@checked()
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
    candidates = [path.parent for path in sorted(root.glob(f"*/{MANIFEST_NAME}"))]
    roots = [root] if (root / MANIFEST_NAME).exists() or not candidates else candidates
    problems = [problem for one in roots for problem in _problems(one)]
    if problems:
        raise CheckpointError(f"{root}: does not match its manifest: " + "; ".join(problems))
    for one in roots:
        adapter = one / ADAPTER_NAMES[0]
        _ = Checkpoint(adapter if adapter.exists() else one).tensors  # headers and index agree
    entries = [entry for one in roots for entry in read_manifest(one)["files"].values()]
    return Verification(len(roots), len(entries), sum(entry["bytes"] for entry in entries))


def _problems(folder: Path) -> list[str]:
    listed = read_manifest(folder)["files"]
    present = {name for name, _ in _files_in(folder)} - {MANIFEST_NAME}
    present |= {name for name in listed if (folder / name).is_dir()}
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


class _Hashed(NamedTuple):
    digest: str
    identity: Identity


class FileHashes:
    """Hashes files from now on, several at a time: reading and hashing leave Python's lock free.

    Use it in a `with` statement; leaving it stops what is not done.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._stop = Event()
        self._known: dict[Path, Identity] = {}
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="hash")
        self._found: dict[Path, Future[_Hashed]] = {
            file: self._pool.submit(_hash, file, self._stop) for file in dict.fromkeys(files)
        }

    def __enter__(self) -> FileHashes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def __getitem__(self, file: Path) -> str:
        """Wait for a file's SHA-256, as hex digits."""
        return self._found[file].result().digest

    def check_unchanged(self) -> None:
        """Hold the files against what they were when their hashing began (see `m2m.checkpoint.identity`)."""
        for file, found in self._found.items():
            before = self._known.get(file) or found.result().identity
            now = require_unchanged(file, before, lambda file: _hash(file, self._stop).digest == self[file])
            self._known[file] = now  # what was looked at once is not hashed for every candidate


def _hash(file: Path, stop: Event) -> _Hashed:
    digest, block = hashlib.sha256(), bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    require_file(file, "a file of a checkpoint", CheckpointError)
    with naming(file), file.open("rb", buffering=0) as source:
        identity = identity_of(os.fstat(source.fileno()))
        while not stop.is_set() and (count := source.readinto(block)):
            digest.update(view[:count])
    return _Hashed(digest.hexdigest(), identity)


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
    """Hold files against the manifests beside them, where m2m wrote one; waits for the files' hashes."""
    for file in files:
        if manifest := _manifest_of_ours(file.parent):
            _check(file, hashes[file], manifest)


def _check(file: Path, digest: str, manifest: Mapping[str, Any]) -> None:
    listed = manifest["files"].get(file.name)
    if listed is not None and listed["sha256"] != digest:
        raise CheckpointError(
            f"{file} is not what m2m wrote there: its SHA-256 is not that of {MANIFEST_NAME}; remove the "
            f"folder to make it anew, or, if the file was changed on purpose, only {MANIFEST_NAME}"
        )


def _manifest_of_ours(folder: Path) -> dict[str, Any] | None:
    # Other programs write a manifest.json too, with other things in it.
    try:
        return read_manifest(folder)
    except CheckpointError:
        return None
