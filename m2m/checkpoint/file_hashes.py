"""SHA-256 of many files, worked out by threads while the caller does something else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import NamedTuple

from m2m.checkpoint.identity import Identity, identity_of, require_unchanged
from m2m.errors import CheckpointError
from m2m.support.doors import require_file
from m2m.support.files import naming

_BLOCK_BYTES = 1 << 20


class _Hashed(NamedTuple):
    digest: str
    identity: Identity


class FileHashes:
    """Hashes files from now on, several at a time: reading and hashing leave Python's lock free.

    Use it in a `with` statement; leaving it stops what is not done.

    Args:
        files: The files.
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
        """Wait for a file's hash.

        Args:
            file: One of the files.

        Returns:
            Its SHA-256 as hex digits.
        """
        return self._found[file].result().digest

    def check_unchanged(self) -> None:
        """Hold the files against what they were when their hashing began (see `m2m.checkpoint.identity`).

        Raises:
            CheckpointError: If one was written to, replaced or removed; names it.
        """  # noqa: DOC502 - raised by what is called
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
