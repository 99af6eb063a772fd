"""The header of a safetensors file: read it, and believe nothing in it before it is checked.

Layout of a file: 8 bytes little-endian header length, that many bytes of JSON, then the tensors' bytes
without holes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from m2m.checkpoint.dtypes import SIZES
from m2m.errors import CheckpointError

#: Longest JSON header that is read: the limit of the safetensors library.
MAX_HEADER_BYTES = 100_000_000
#: Numbers in a header that are larger cannot be file offsets.
_MAX_INTEGER = 2**63 - 1
_LENGTH_BYTES = 8
_MOST_AXES = 64
_ENTRY_KEYS = ("dtype", "shape", "data_offsets")
_entry_values = itemgetter(*_ENTRY_KEYS)


class TensorInfo(NamedTuple):
    """Where one tensor lies.

    Attributes:
        name: Its name in the checkpoint.
        dtype: Element type by its safetensors name, as in `BF16`.
        shape: Its shape; empty for a scalar.
        file: The file that holds it.
        offset: Its first byte, counted from the start of the file.
        nbytes: Its length in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        """Number of elements P."""
        return self.nbytes // SIZES[self.dtype]


class Header(NamedTuple):
    """A checked header.

    Attributes:
        tensors: The file's tensors by name, in the order of their bytes.
        metadata: Free text by key.
        contents: What it shares with equal headers of other files.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    contents: Contents | None = None


class Contents:
    """What the text of a header says, checked, whichever file it stands in.

    Attributes:
        tensors: The tensors in the order of their bytes, in the first file that had this text.
        metadata: Free text by key.
        end: Where the tensors end, which must be the length of the file.
    """

    def __init__(self, text: bytes, path: Path) -> None:
        """Parse and check a header.

        Args:
            text: The header without its length.
            path: The file, for errors.

        Raises:
            CheckpointError: If it is malformed, or places tensors over each other or apart.
        """  # noqa: DOC502 - raised by what is called
        table = _parse(text, path)
        self.metadata = _metadata(table.pop("__metadata__", {}), path)
        start = _LENGTH_BYTES + len(text)
        self.tensors = [_tensor(name, entry, path, start) for name, entry in table.items()]
        self.tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
        self.end = _check_cover(self.tensors, start, path)


#: Contents in use by the hash of their text: experts mostly have their base model's header, byte by byte, so
#: it is parsed once for all of them, and they share its names and shapes.
_in_use: WeakValueDictionary[bytes, Contents] = WeakValueDictionary()


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file; the tensors themselves are not read.

    Args:
        path: The file.

    Returns:
        Its tensors and metadata.

    Raises:
        CheckpointError: If the file cannot be read, its header is malformed, or it places tensors over each
            other, apart or outside of the file; names file and tensor.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(file.read(_LENGTH_BYTES), size, path)
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) != length:
        raise CheckpointError(f"{path}: shrank while its header was read")
    contents = _contents(text, path)
    if contents.end != size:
        how = "is cut off" if contents.end > size else "has bytes that belong to no tensor"
        raise CheckpointError(f"{path}: {how}: its tensors end at byte {contents.end}, the file at {size}")
    tensors = {
        name: TensorInfo(name, dtype, shape, path, offset, nbytes)
        for name, dtype, shape, _, offset, nbytes in contents.tensors
    }
    return Header(tensors, dict(contents.metadata), contents)


def _contents(text: bytes, path: Path) -> Contents:
    key = hashlib.sha256(text).digest()
    known = _in_use.get(key)
    if known is None:
        _in_use[key] = known = Contents(text, path)
    return known


def require_file(path: Path) -> None:
    """Refuse what is there but no file: opening a pipe would wait for ever, a device has no end.

    Args:
        path: Where a file is wanted.

    Raises:
        CheckpointError: If there is something else.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: is not a file")


def _header_length(prefix: bytes, size: int, path: Path) -> int:
    if len(prefix) < _LENGTH_BYTES:
        raise CheckpointError(f"{path}: {size} bytes are too few for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: claims a header of {length} bytes, at most {MAX_HEADER_BYTES} are allowed; "
            "not a safetensors file?"
        )
    if _LENGTH_BYTES + length > size:
        raise CheckpointError(f"{path}: is cut off: header of {length} bytes in a file of {size}")
    return length


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise CheckpointError(f"{path}: the header does not start with '{{'; not a safetensors file?")
    try:
        table = json.loads(text.decode())
        if b"\\" in text or text.count(b'"') != 2 * _count_strings(table):
            table = json.loads(text.decode(), object_pairs_hook=unique_names)
            json.dumps(table, ensure_ascii=False).encode()  # fails on names that UTF-8 cannot hold
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not valid JSON: {error}") from error
    return table  # type: ignore[no-any-return] # it starts with '{'


def _count_strings(table: dict[str, Any]) -> int:
    # How many strings stand in a well-formed header's text, if no name occurs twice: without escapes each has
    # two quotes. The names of a tensor's keys, its own and its dtype's are five. What is not well-formed will
    # be refused for that, whatever is counted here.
    metadata = table.get("__metadata__")
    tensors = len(table) - ("__metadata__" in table)
    return (len(_ENTRY_KEYS) + 2) * tensors + (1 + 2 * len(metadata) if isinstance(metadata, dict) else 0)


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table of a JSON object's pairs; for `json.loads(object_pairs_hook=...)`.

    Args:
        pairs: Names and values.

    Returns:
        The table.

    Raises:
        ValueError: If a name occurs twice.
    """
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated!r} occurs twice")
    return table


def _metadata(table: object, path: Path) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise CheckpointError(f"{path}: __metadata__ is not a table of strings")
    return table


def _are_sizes(values: list[object]) -> bool:
    # A plain loop, not `all`: this runs for every tensor.
    for value in values:  # noqa: SIM110
        if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
            return False
    return True


def _tensor(name: str, entry: Any, path: Path, start: int) -> TensorInfo:
    try:
        dtype, shape, offsets = _entry_values(entry)
        begin, end = offsets
        if (
            len(entry) == len(_ENTRY_KEYS)
            and type(shape) is list
            and len(shape) <= _MOST_AXES
            and _are_sizes(shape)
            and type(begin) is type(end) is int
            and 0 <= begin <= end <= _MAX_INTEGER
            and end - begin == math.prod(shape) * SIZES[dtype]
        ):
            return TensorInfo(name, dtype, tuple(shape), path, start + begin, end - begin)
    except (KeyError, TypeError, ValueError):
        pass
    raise CheckpointError(f"{path}: tensor {name!r}: {_what_is_wrong(entry)}")


def _what_is_wrong(entry: object) -> str:
    if not isinstance(entry, dict) or entry.keys() != set(_ENTRY_KEYS):
        return f"wanted dtype, shape and data_offsets, got {entry!r:.200}"
    dtype, shape, offsets = _entry_values(entry)
    if not isinstance(dtype, str) or dtype not in SIZES:
        return f"unknown dtype {dtype!r:.50}; known are {', '.join(SIZES)}"
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not _are_sizes(shape):
        return f"bad shape {shape!r:.200}"
    if not isinstance(offsets, list) or len(offsets) != 2 or not _are_sizes(offsets):
        return f"bad data_offsets {offsets!r:.200}"
    wanted = math.prod(shape) * SIZES[dtype]
    got = offsets[1] - offsets[0]
    return f"{dtype} of shape {shape} takes {wanted} bytes, data_offsets {offsets} give {got}"


def _check_cover(tensors: list[TensorInfo], start: int, path: Path) -> int:
    position = start
    for tensor in tensors:
        if tensor.offset != position:
            how = "overlaps the tensor before it" if tensor.offset < position else "leaves a hole before it"
            raise CheckpointError(
                f"{path}: tensor {tensor.name!r} at byte {tensor.offset} {how}; wanted {position}"
            )
        position += tensor.nbytes
    return position
