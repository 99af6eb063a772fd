"""The header of a safetensors file: read it, and believe nothing in it before it is checked.

Layout of a file: 8 bytes little-endian header length, that many bytes of JSON, then the tensors' bytes
without holes.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from m2m.checkpoint.dtypes import SIZES
from m2m.errors import CheckpointError

#: Longest JSON header that is read: the limit of the safetensors library.
MAX_HEADER_BYTES = 100_000_000
#: Numbers in a header that are larger cannot be file offsets.
_MAX_INTEGER = 2**63 - 1
_LENGTH_BYTES = 8


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
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


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
    table = _parse(text, path)
    metadata = _metadata(table.pop("__metadata__", {}), path)
    start = _LENGTH_BYTES + length
    tensors = [_tensor(name, entry, path, start) for name, entry in table.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _check_cover(tensors, start, size, path)
    return Header({tensor.name: tensor for tensor in tensors}, metadata)


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
        table = json.loads(text, object_pairs_hook=unique_names)
        if b"\\u" in text:
            json.dumps(table, ensure_ascii=False).encode()  # fails on names that UTF-8 cannot hold
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: the header is not a JSON object")
    return table


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
    # A plain loop, not `all`: this runs twice for every tensor of every input.
    for value in values:  # noqa: SIM110
        if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
            return False
    return True


def _tensor(name: str, entry: object, path: Path, start: int) -> TensorInfo:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            f"{path}: tensor {name!r}: wanted dtype, shape and data_offsets, got {entry!r:.200}"
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise CheckpointError(
            f"{path}: tensor {name!r}: unknown dtype {dtype!r:.50}; known are {', '.join(SIZES)}"
        )
    if not isinstance(shape, list) or len(shape) > 64 or not _are_sizes(shape):
        raise CheckpointError(f"{path}: tensor {name!r}: bad shape {shape!r:.200}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not _are_sizes(offsets):
        raise CheckpointError(f"{path}: tensor {name!r}: bad data_offsets {offsets!r:.200}")
    begin, end = offsets
    wanted = math.prod(shape) * SIZES[dtype]
    if end - begin != wanted:
        raise CheckpointError(
            f"{path}: tensor {name!r}: {dtype} of shape {shape} takes {wanted} bytes, "
            f"data_offsets {offsets} give {end - begin}"
        )
    return TensorInfo(name, dtype, tuple(shape), path, start + begin, wanted)


def _check_cover(tensors: list[TensorInfo], start: int, size: int, path: Path) -> None:
    position = start
    for tensor in tensors:
        if tensor.offset != position:
            how = "overlaps the tensor before it" if tensor.offset < position else "leaves a hole before it"
            raise CheckpointError(
                f"{path}: tensor {tensor.name!r} at byte {tensor.offset} {how}; wanted {position}"
            )
        position += tensor.nbytes
    if position != size:
        how = "is cut off" if position > size else "has bytes that belong to no tensor"
        raise CheckpointError(f"{path}: {how}: its tensors end at byte {position}, the file at {size}")
