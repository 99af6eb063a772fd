"""The files that a merge writes: made at full length, hashed as they fill."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from m2m.checkpoint.writer import Shard
from m2m.errors import RunFolderError
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.tensors import element_size
from m2m.merging.stream.work_folder import START, Position

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BLOCK_BYTES = 256 * 1024
#: How long the hasher rests when it has caught up; what is written meanwhile is left to hash at the end.
_WAIT_SECONDS = 0.005


def output_files(plan: MergePlan, folder: Path) -> list[Path]:
    """List the output files in a folder: shard by shard of the first output, then of the second. [M · S]."""
    # Each output lies in a folder of its candidate's name.
    return [folder / output.name / shard.name for output in plan.outputs for shard in output.layout.shards]


def lay_out(plan: MergePlan, folder: Path) -> list[Path]:
    """Make the output files, and list them; files of an interrupted run keep their bytes."""
    files = output_files(plan, folder)
    shards = [shard for output in plan.outputs for shard in output.layout.shards]
    for file, shard in zip(files, shards, strict=True):
        allocate(file, shard)
    return files


def allocate(path: Path, shard: Shard) -> None:
    """Make an output file at full length, with its header; `RunFolderError` if there is no room."""
    path.parent.mkdir(exist_ok=True)
    try:
        _allocate(path, shard.header, shard.nbytes)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise RunFolderError(f"{path}: no room for {shard.nbytes} bytes: {error.strerror}") from error


def _allocate(path: Path, header: bytes, nbytes: int) -> None:
    # What is there stays: an interrupted merge goes on in it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        os.ftruncate(descriptor, nbytes)
        os.posix_fallocate(descriptor, 0, nbytes)  # a full disk is found out now, not after an hour
        file.write(header)


def require_written(plan: MergePlan, folder: Path, start: Position) -> None:
    """Refuse to go on in what is no longer there: what is missing would be zeros in the result."""
    if start == START:
        return
    tensor, element = start
    if not (0 <= tensor <= len(plan.tensors) and element >= 0):
        raise RunFolderError(f"{folder.parent}: its journal is damaged; run without resume to start over")
    for output in plan.outputs:
        for shard in output.layout.shards:
            path = folder / output.name / shard.name
            size = path.stat().st_size if path.is_file() else 0
            if size != shard.nbytes:
                raise RunFolderError(
                    f"{path}: has {size} bytes, wanted the {shard.nbytes} begun with; run without resume "
                    "to start over"
                )


class FollowingHasher:
    """SHA-256 of every output file, known shortly after the last byte is written."""

    def __init__(
        self, plan: MergePlan, files: Sequence[Path], threads: int, position: Callable[[], Position]
    ) -> None:
        self._plan = plan
        self._files = list(files)
        self._position = position
        self._stopping = threading.Event()
        self._awake = threading.Event()  # once there is nothing to wait for: all is written, or it stops
        self._error: BaseException | None = None
        self._hashes: dict[tuple[str, str], str] = {}
        count = min(threads, len(plan.outputs))
        self._threads = [
            threading.Thread(target=self._work, args=(first, count), daemon=True) for first in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def result(self) -> dict[tuple[str, str], str]:
        """SHA-256 as hex digits by output and file name, after the last write; raises what a thread met."""
        self._awake.set()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_WAIT_SECONDS)
        if self._error is not None:
            raise self._error
        return self._hashes

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        self._awake.set()
        for thread in self._threads:
            thread.join()

    def _work(self, first: int, step: int) -> None:
        try:
            for number in range(len(self._plan.outputs[0].layout.shards)):
                for m in range(first, len(self._plan.outputs), step):
                    self._hash_shard(m, number)
        except BaseException as error:  # handed to the caller of `result`
            self._error = error

    def _hash_shard(self, m: int, number: int) -> None:
        output = self._plan.outputs[m]
        shard = output.layout.shards[number]
        path = self._files[m * len(output.layout.shards) + number]
        digest, done = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        with path.open("rb", buffering=0) as file:
            while done < shard.nbytes and not self._stopping.is_set():
                ready = min(self._written(m, number), shard.nbytes)
                if ready == done:
                    self._awake.wait(_WAIT_SECONDS)
                while done < ready and not self._stopping.is_set():
                    count = file.readinto(buffer[: min(_BLOCK_BYTES, ready - done)])
                    if not count:
                        raise OSError(f"{path}: shrank while it was written")
                    digest.update(buffer[:count])
                    done += count
        self._hashes[output.name, shard.name] = digest.hexdigest()

    def _written(self, m: int, number: int) -> int:
        # Up to which byte is this shard written?
        tensor, element = self._position()
        shard = self._plan.outputs[m].layout.shards[number]
        if tensor == len(self._plan.tensors):
            return shard.nbytes
        at_shard, offset = self._plan.tensors[tensor].places[m]
        if at_shard != number:
            return shard.nbytes if at_shard > number else len(shard.header)
        return offset + element * element_size(self._plan.tensors[tensor])
