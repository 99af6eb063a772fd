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

from m2m.errors import CheckpointError

_BLOCK_BYTES = 1 << 20


class _Stand(NamedTuple):
    # What the system says of a file without reading it.
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class _Hashed(NamedTuple):
    digest: str
    stand: _Stand


class FileHashes:
    """Hashes files from now on, several at a time: reading and hashing leave Python's lock free.

    Use it in a `with` statement; leaving it stops what is not done.

    Args:
        files: The files.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._stop = Event()
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
        """Hold the files against what they were when their hashing began.

        Any write through the system moves `ctime`, which programs cannot set back, in steps of a few
        milliseconds. Not seen: a write in the same step, a store into memory that was mapped before, a
        clock that was set back.

        Raises:
            CheckpointError: If one was written to, replaced or removed; names it.
        """
        for file, found in self._found.items():
            try:
                same = _stand(os.stat(file)) == found.result().stand
            except FileNotFoundError:
                same = False
            if not same:
                raise CheckpointError(f"{file} has changed while it was being used")


def _hash(file: Path, stop: Event) -> _Hashed:
    digest, block = hashlib.sha256(), bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    with file.open("rb", buffering=0) as source:
        stand = _stand(os.fstat(source.fileno()))
        while not stop.is_set() and (count := source.readinto(block)):
            digest.update(view[:count])
    return _Hashed(digest.hexdigest(), stand)


def _stand(status: os.stat_result) -> _Stand:
    return _Stand(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
