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

from m2m.checkpoint.remote.session import bring_headers
from m2m.errors import CheckpointError
from m2m.support.doors import POINTER, refuse_pointer, require_file, unique_names

#: safetensors name to bytes an element; the types narrower than a byte are not supported.
SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip

#: The types that can be averaged.
MERGEABLE = frozenset({"F64", "F32", "F16", "BF16"})

#: safetensors name to torch's name.
TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "U16": "uint16", "I16": "int16", "F16": "float16", "BF16": "bfloat16",
    "U32": "uint32", "I32": "int32", "F32": "float32",
    "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64",
}  # fmt: skip

_BY_TORCH_NAME = {torch_name: name for name, torch_name in TORCH_NAMES.items()}

#: Longest JSON header that is read: the limit of the safetensors library.
MAX_HEADER_BYTES = 100_000_000
#: Numbers in a header that are larger cannot be file offsets.
_MAX_INTEGER = 2**63 - 1
_LENGTH_BYTES = 8
_MOST_AXES = 64
_METADATA = "__metadata__"
_METADATA_FIRST = f'{{"{_METADATA}":{{'
_ENTRY_KEYS = ("dtype", "shape", "data_offsets")
_entry_values = itemgetter(*_ENTRY_KEYS)
#: Name, dtype, shape, first byte, length.
_Row = tuple[str, str, tuple[int, ...], int, int]


def parse_dtype(text: str) -> str:
    """Read `bfloat16`, `torch.bfloat16` or `BF16`, as recipes and configs write it; gives `BF16`."""
    bare = text.removeprefix("torch.")
    name = _BY_TORCH_NAME.get(bare, bare.upper())
    if name not in SIZES:
        raise CheckpointError(f"unknown dtype {text!r}; known are {', '.join(_BY_TORCH_NAME)}")
    return name


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
    """A checked header."""

    #: The file's tensors by name, in the order of their bytes.
    tensors: dict[str, TensorInfo]
    #: Free text by key.
    metadata: dict[str, str]
    #: What it shares with headers of other files that place the same tensors alike.
    table: TensorTable | None = None


class TensorTable:
    """What a header says about tensors, checked, whichever file it stands in.

    Attributes:
        rows: Name, dtype, shape, first byte and length of each tensor, in the order of their bytes.
        nbytes: Bytes of all of them.
        metadata: Free text by key, if it stands among the tensors.
    """

    def __init__(self, text: str, path: Path) -> None:
        """Parse and check a table."""
        table = _parse(text, path)
        self.metadata = _metadata(table.pop(_METADATA), path) if _METADATA in table else None
        self.rows = [_row(name, entry, path) for name, entry in table.items()]
        self.rows.sort(key=lambda row: row[3:])
        self.nbytes = _check_cover(self.rows, path)


#: Tables in use by the hash of their text. Experts mostly have their base model's: it is parsed once for all
#: of them, and they share its names and shapes.
_in_use: WeakValueDictionary[bytes, TensorTable] = WeakValueDictionary()


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file; the tensors themselves are not read."""
    require_file(path, "a safetensors file", CheckpointError)
    bring_headers([path], MAX_HEADER_BYTES)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            beginning = file.read(_LENGTH_BYTES)
            if POINTER.startswith(beginning):
                refuse_pointer(path, beginning + file.read(len(POINTER)), CheckpointError)
            length = _header_length(beginning, size, path)
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) != length:
        raise CheckpointError(f"{path}: shrank while its header was read")
    metadata, rest = _split(text, path)
    table = _table(rest, path)
    if metadata is not None and table.metadata is not None:
        raise CheckpointError(f"{path}: the header is not valid JSON: the name {_METADATA!r} occurs twice")
    start = _LENGTH_BYTES + length
    end = start + table.nbytes
    if end != size:
        how = "is cut off" if end > size else "has bytes that belong to no tensor"
        raise CheckpointError(f"{path}: {how}: its tensors end at byte {end}, the file at {size}")
    tensors = {
        name: TensorInfo(name, dtype, shape, path, start + begin, nbytes)
        for name, dtype, shape, begin, nbytes in table.rows
    }
    return Header(tensors, metadata or dict(table.metadata or {}), table)


def _split(text: bytes, path: Path) -> tuple[dict[str, str] | None, str]:
    # Takes the metadata away where it stands first, as libraries write it: the rest is often another file's.
    if not text.startswith(b"{"):
        raise CheckpointError(f"{path}: the header does not start with '{{'; not a safetensors file?")
    try:
        decoded = text.decode().rstrip(" ")
        if not decoded.startswith(_METADATA_FIRST):
            return None, decoded
        metadata, end = _decoder.raw_decode(decoded, len(_METADATA_FIRST) - 1)
        json.dumps(metadata, ensure_ascii=False).encode()  # fails on text that UTF-8 cannot hold
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not valid JSON: {error}") from error
    if not decoded.startswith(',"', end):
        return None, decoded
    return _metadata(metadata, path), "{" + decoded[end + 1 :]


def _table(text: str, path: Path) -> TensorTable:
    key = hashlib.sha256(text.encode()).digest()
    known = _in_use.get(key)
    if known is None:
        _in_use[key] = known = TensorTable(text, path)
    return known


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


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        table = json.loads(text)
        if "\\" in text or text.count('"') != 2 * _count_strings(table):
            table = json.loads(text, object_pairs_hook=unique_names)
            json.dumps(table, ensure_ascii=False).encode()  # fails on names that UTF-8 cannot hold
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not valid JSON: {error}") from error
    return table  # type: ignore[no-any-return] # it starts with '{'


def _count_strings(table: dict[str, Any]) -> int:
    # How many strings stand in a well-formed header's text, if no name occurs twice: without escapes each has
    # two quotes. A tensor's own name, its keys' and its dtype's are five. What is not well-formed will be
    # refused for that, whatever is counted here.
    metadata = table.get(_METADATA)
    tensors = len(table) - (_METADATA in table)
    return (len(_ENTRY_KEYS) + 2) * tensors + (1 + 2 * len(metadata) if isinstance(metadata, dict) else 0)


_decoder = json.JSONDecoder(object_pairs_hook=unique_names)


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


def _fits(shape: list[int]) -> bool:
    # A tensor without elements has strides too, which whoever makes it multiplies.
    return math.prod(size for size in shape if size) <= _MAX_INTEGER // max(SIZES.values())


def _row(name: str, entry: Any, path: Path) -> _Row:
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
            and (end > begin or _fits(shape))
        ):
            return name, dtype, tuple(shape), begin, end - begin
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
    if got == wanted:
        return f"bad shape {shape!r:.200}: nothing of that size can be held"
    return f"{dtype} of shape {shape} takes {wanted} bytes, data_offsets {offsets} give {got}"


def _check_cover(rows: list[_Row], path: Path) -> int:
    position = 0
    for name, _, _, begin, nbytes in rows:
        if begin != position:
            how = "overlaps the tensor before it" if begin < position else "leaves a hole before it"
            raise CheckpointError(
                f"{path}: tensor {name!r} at byte {begin} of the data {how}; wanted {position}"
            )
        position += nbytes
    return position
