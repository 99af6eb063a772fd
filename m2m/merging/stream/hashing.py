"""Hash output files while they are written: threads follow the finished part, still in the page cache."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.tensors import element_size
from m2m.merging.stream.work_folder import Position

_BLOCK_BYTES = 256 * 1024
_WAIT_SECONDS = 0.02


class FollowingHasher:
    """SHA-256 of every output file, known shortly after the last byte is written."""

    def __init__(
        self, plan: MergePlan, files: Sequence[Path], threads: int, position: Callable[[], Position]
    ) -> None:
        """Start to follow.

        Args:
            plan: The plan.
            files: Its output files, shard by shard of the first output, then of the second, and so on.
            threads: Most threads; there are never more than outputs.
            position: Tells up to where the outputs are written.
        """
        self._plan = plan
        self._files = list(files)
        self._position = position
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._hashes: dict[tuple[str, str], str] = {}
        count = min(threads, len(plan.outputs))
        self._threads = [
            threading.Thread(target=self._work, args=(first, count), daemon=True) for first in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def result(self) -> dict[tuple[str, str], str]:
        """Wait for the hashes; everything must have been written.

        Returns:
            SHA-256 as hex digits, by output name and file name.

        Raises:
            BaseException: What went wrong in a thread.
        """  # noqa: DOC502 - raised by what is called
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_WAIT_SECONDS)
        if self._error is not None:
            raise self._error
        return self._hashes

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
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
                    self._stopping.wait(_WAIT_SECONDS)
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
