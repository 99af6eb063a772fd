"""Outputs that lie elsewhere: shards are sent as they are finished, what says that all is there at last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from m2m.checkpoint.folder import MANIFEST_NAME
from m2m.checkpoint.locate import INDEX_NAME
from m2m.checkpoint.remote.crew import Crew
from m2m.checkpoint.remote.mirror import CACHE_VARIABLE
from m2m.errors import RunFolderError
from m2m.merging.plan.plan import MergePlan
from m2m.merging.stream.destination_journal import Journal, place
from m2m.merging.stream.output_files import allocate, output_files
from m2m.merging.stream.passes import GO_ON
from m2m.merging.stream.work_folder import Position

#: Files that are sent at a time.
THREADS = 4
_POLL_SECONDS = 0.1
_BLOCK_BYTES = 1 << 20


@contextmanager
def room_told() -> Iterator[None]:
    """Say, where there is no room to put a shard together, what can be done."""
    try:
        yield
    except RunFolderError as error:
        raise RunFolderError(f"{error}; name another folder in {CACHE_VARIABLE}; {GO_ON}") from error


def shard_bytes(plan: MergePlan) -> int:
    """Most bytes that a shard of all outputs takes before it is sent."""
    each = ([shard.nbytes for shard in output.layout.shards] for output in plan.outputs)
    return max(map(sum, zip(*each, strict=True)))


class ShardUpload:
    """Puts shards together in a local folder, sends each when it is finished, and drops it.

    A checkpoint of one file is sent at the very end: loaders take it for finished when it is there.

    Attributes:
        files: Where they are put together, shard by shard of the first output, then of the second. [M · S]
        sent_bytes: Bytes of shards that were sent.
        began: Where the work goes on.
    """

    def __init__(self, plan: MergePlan, folder: Path, journal: Journal, crew: Crew) -> None:
        """Begin after what the journal says is there."""
        self.files = output_files(plan, folder)
        self.sent_bytes = 0
        self.report: Callable[[], None] = lambda: None
        self._plan, self._journal, self._crew = plan, journal, crew
        self._sending: list[Future[None]] = []
        self._made: set[int] = set()
        numbers = range(len(plan.outputs[0].layout.shards))
        self._there = [n for n in numbers if all(name in journal.done for name in self._names(n))]
        self.began = self._first_left()

    @property
    def resumed_bytes(self) -> int:
        """Tensor bytes that an earlier merge had sent: of the shards that were there for every output."""
        shards = (output.layout.shards[number] for output in self._plan.outputs for number in self._there)
        return sum(shard.nbytes - len(shard.header) for shard in shards)

    @property
    def has_gap(self) -> bool:
        """Whether a shard is missing before one that is there: workers sent them in another order."""
        return self._there != list(range(len(self._there)))

    def _first_left(self) -> Position:
        # At the first shard that is not there for every output.
        for number, tensor in enumerate(self._plan.tensors):
            if tensor.places[0][0] not in self._there:
                return number, 0
        return len(self._plan.tensors), 0

    @property
    def _sharded(self) -> bool:
        return len(self._plan.outputs[0].layout.shards) > 1

    def end(self, first: int, end: int) -> int:
        """Up to which tensor a window from `first` on may go: those of one shard."""
        shard = self._shard_of(first)
        return next((number for number in range(first, end) if self._shard_of(number) != shard), end)

    def begin(self, first: int, end: int) -> None:
        """Make the files of a shard."""
        del end
        number = self._shard_of(first)
        if number not in self._made:
            with room_told():
                for m, output in enumerate(self._plan.outputs):
                    allocate(self._file(m, number), output.layout.shards[number])
            self._made.add(number)

    def done(self, end: int) -> None:
        """Send the shard that ends before a tensor, once the one before it has gone."""
        number = self._shard_of(end - 1)
        if not self._sharded or (end < len(self._plan.tensors) and self._shard_of(end) == number):
            return
        self._wait()
        for m, name in enumerate(self._names(number)):
            send = partial(self.send, self._file(m, number), name)
            self._sending.append(self._crew.submit(send))

    def send(self, file: Path, name: str) -> None:
        """Send a shard, note that it is there, and give its room back."""
        digest, nbytes = _hash(file), file.stat().st_size
        self._journal.claim.require()
        self._journal.destination.put(file, name)
        self._journal.add(name, digest)
        self.sent_bytes += nbytes
        with file.open("r+b") as kept:  # the stream has it open still
            kept.truncate(0)
        file.unlink()

    def result(self) -> dict[tuple[str, str], str]:
        """Wait until all shards are sent; SHA-256 as hex digits by output and file name."""
        self._wait()
        found = {}
        for m, output in enumerate(self._plan.outputs):
            for number, shard in enumerate(output.layout.shards):
                digest = self._journal.done.get(place(output.name, shard.name))
                found[output.name, shard.name] = digest or _hash(self._file(m, number))
        return found

    def stop(self) -> None:
        """Wait for nothing: what is under way comes to its end, or is made anew."""

    def discard(self) -> None:
        """Remove what was sent, once nothing is under way."""
        wait(self._sending)
        self._journal.discard()

    def require_whole(self) -> None:
        """Refuse to finish where shards are not there as they were sent."""
        if self._sharded:
            self._journal.require_whole()

    def publish(self, output: str, folder: Path) -> None:
        """Send what lies in an output's folder: what loaders look for late, and the manifest last."""
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        weights = {shard.name for shard in self._plan.outputs[0].layout.shards}
        ranks = {INDEX_NAME: 2, MANIFEST_NAME: 3}
        self._journal.announce(place(output, name) for name in files)
        for name in sorted(files, key=lambda name: (ranks.get(name, int(name in weights)), name)):
            self._journal.claim.require()
            self._journal.destination.put(files[name], place(output, name))

    def _wait(self) -> None:
        while self._sending:
            found = wait(self._sending, _POLL_SECONDS, FIRST_EXCEPTION)
            for future in found.done:
                future.result()
            self._sending = [*found.not_done]
            self.report()

    def _shard_of(self, tensor: int) -> int:
        return self._plan.tensors[tensor].places[0][0]

    def _names(self, number: int) -> list[str]:
        return [place(output.name, output.layout.shards[number].name) for output in self._plan.outputs]

    def _file(self, m: int, number: int) -> Path:
        return self.files[m * len(self._plan.outputs[m].layout.shards) + number]


def _hash(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
