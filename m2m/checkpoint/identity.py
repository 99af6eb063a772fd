"""Is a file still what it was? What the system says of it, and samples where that is not enough.

Any write through the system moves `ctime`, which programs cannot set back, in steps of a few milliseconds.
Links and permissions move it too: a file whose `ctime` alone moved is taken for changed unless links, mode or
owner moved with it; then its content is looked at. So it is where device or inode alone moved, which some
network file systems number anew. Not seen: a write within one step of the clock, a store into memory that
was mapped before, a clock that was set back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from m2m.checkpoint.remote.mirror import telling
from m2m.checkpoint.remote.session import check_origins, origin_of
from m2m.errors import CheckpointError
from m2m.support.files import naming

_WHILE_USED = "while it was used; start again when nothing writes to it"
_SINCE_BEGUN = "since the merge was begun; run without resume to start over"
_BLOCK_BYTES = 4096
_BLOCKS = 16
_LENGTH_BYTES = 8
#: Longest header that is looked at whole; longer ones are sampled like the rest.
_MAX_HEADER_BYTES = 16 << 20


class Identity(NamedTuple):
    """What the system says of a file without reading it, as `os.stat_result` has it."""

    device: int
    inode: int
    size: int
    #: When its content changed; programs can set it.
    modified_ns: int
    #: When anything about it changed; programs cannot set it.
    changed_ns: int
    links: int
    mode: int
    owner: int
    group: int


#: What is written down of a file: its sample and its identity.
ROW_LENGTH = 1 + len(Identity._fields)


def identity_of(status: os.stat_result) -> Identity:
    """Take what matters of what the system says."""
    return Identity(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        status.st_nlink, status.st_mode, status.st_uid, status.st_gid,
    )  # fmt: skip


def identify(files: Iterable[Path]) -> dict[Path, Identity]:
    """Ask the system about files; of links, about what they lead to; of mirrors, only how long they are."""
    try:
        return {file: _of_origin(file) or identity_of(os.stat(file)) for file in files}
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _of_origin(file: Path) -> Identity | None:
    origin = origin_of(file)
    return None if origin is None else Identity(0, 0, origin.size, 0, 0, 0, 0, 0, 0)


def compare(before: Identity, now: Identity) -> Literal["same", "unsure", "changed"]:
    """Whether a file's content may have changed; `unsure` where only the content can tell."""
    if now == before:
        return "same"
    if (now.size, now.modified_ns) != (before.size, before.modified_ns):
        return "changed"
    if now.changed_ns == before.changed_ns:
        return "unsure"
    moved = now[:2] != before[:2]  # device, inode
    explained = now[5:] != before[5:]  # links, mode, owner, group
    return "unsure" if explained and not moved else "changed"


def require_unchanged(
    file: Path, before: Identity, has_same_content: Callable[[Path], bool], when: str = _WHILE_USED
) -> Identity:
    """Hold a file against what it was; gives what it is, its content being the same."""
    try:
        now = identity_of(os.stat(file))
        found = compare(before, now)
        if found == "same" or (found == "unsure" and has_same_content(file)):
            return now
    except OSError:  # removed
        pass
    raise CheckpointError(f"{file}: changed {when}")


def check_unchanged(opened: Mapping[Path, Identity]) -> None:
    """Hold files against what they were, taking the system's word where their content alone could tell."""
    with telling():
        check_origins(opened)
    for file, before in opened.items():
        if origin_of(file) is None:
            require_unchanged(file, before, lambda _: True)


def place_of(file: Path) -> str:
    """Where a file is, links followed; of a mirror the address."""
    origin = origin_of(file)
    return str(file.resolve()) if origin is None else origin.url


def sample(file: Path) -> str:
    """Hash a file's size, its header if it is a safetensors file, and blocks spread over it."""
    origin = origin_of(file)
    if origin is not None:
        return origin.stamp  # what its server says of its content
    with naming(file), file.open("rb", buffering=0) as source:
        size = os.fstat(source.fileno()).st_size
        digest = hashlib.sha256(size.to_bytes(8, "little"))
        digest.update(_read(source, 0, _head_bytes(source, size) if file.suffix == ".safetensors" else 0))
        last = max(0, size - _BLOCK_BYTES)
        for begin in dict.fromkeys(last * number // (_BLOCKS - 1) for number in range(_BLOCKS)):
            digest.update(_read(source, begin, _BLOCK_BYTES))
    return digest.hexdigest()


def _head_bytes(source: BinaryIO, size: int) -> int:
    length = int.from_bytes(_read(source, 0, _LENGTH_BYTES), "little")
    return min(_LENGTH_BYTES + length, size, _MAX_HEADER_BYTES)


def _read(source: BinaryIO, begin: int, count: int) -> bytes:
    source.seek(begin)
    found = b""
    while len(found) < count and (more := source.read(count - len(found))):
        found += more
    return found


class InputFiles:
    """Files that must stay as they are while they are used: what they were when opened, and samples of them.

    Attributes:
        opened: The files as they were when they were opened.
        samples: Hash of each one's size, header and some blocks.
    """

    def __init__(self, opened: Mapping[Path, Identity]) -> None:
        """Sample the files."""
        self.opened = dict(opened)
        try:
            self.samples = {file: sample(file) for file in self.opened}
        except OSError as error:
            raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}") from error

    @property
    def key(self) -> str:
        """Hash of all that is known of the files."""
        return hashlib.sha256(repr(self.to_table()).encode()).hexdigest()

    def check_unchanged(self) -> None:
        """Hold the files against what they were when they were opened."""
        check_origins(self.opened)
        for file, before in self.opened.items():
            if origin_of(file) is None:
                require_unchanged(file, before, lambda file: sample(file) == self.samples[file])

    def to_table(self) -> dict[str, list[Any]]:
        """Write down samples and identities by path, as JSON can hold it."""
        return {place_of(file): [self.samples[file], *before] for file, before in self.opened.items()}

    def check_against(self, table: Mapping[str, Sequence[Any]]) -> None:
        """Hold the files against what an earlier process wrote down of them."""
        for file in self.opened:
            known = table.get(place_of(file))
            if known is None or known[0] != self.samples[file]:
                raise CheckpointError(f"{file}: changed {_SINCE_BEGUN}")
            if origin_of(file) is None:
                require_unchanged(file, Identity(*known[1:]), lambda _: True, _SINCE_BEGUN)
