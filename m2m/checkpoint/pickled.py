"""PyTorch `.bin` files: where their tensors lie, learned with `weights_only` and without reading a weight."""

from __future__ import annotations

import math
import struct
import warnings
import zipfile
from bisect import bisect_right
from pathlib import Path

from m2m.checkpoint.header import SIZES, Header, TensorInfo, parse_dtype
from m2m.errors import CheckpointError
from m2m.support.doors import reading, require_file

_WHAT = "a PyTorch state dict that weights_only loads"
#: Bit of a zip member's flags.
_ENCRYPTED = 1
#: Where a zip member's header tells the lengths of its name and its extra field.
_NAME_LENGTH = 26


def read_pickled_header(path: Path) -> Header:
    """Find the tensors of a `.bin`, `.pt` or `.pth` file; no code in it is run."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    require_file(path, _WHAT, CheckpointError)
    with reading(_WHAT, path, CheckpointError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about storages of old files
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path}: is not a PyTorch zip archive (cut off, or written before torch 1.6)"
            )
        records = _records(path)
        with FakeTensorMode():  # storages are then not loaded: they only know where they lie in the file
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: holds a {type(state).__name__}; wanted tensors by name")
        return Header({name: _tensor(name, value, path, records) for name, value in state.items()}, {})


def _records(path: Path) -> list[tuple[int, int]]:
    # Where the archive's records begin and end, in order. Tensors are read where they lie in them, which is
    # not what they are where the archive packs or encrypts.
    found = []
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
                raise CheckpointError(f"{path}: {member.filename!r:.80} is compressed or encrypted in it")
            file.seek(member.header_offset + _NAME_LENGTH)
            name, extra = struct.unpack("<HH", file.read(4))
            start = file.tell() + name + extra
            found.append((start, start + member.file_size))
    return sorted(found)


def _tensor(name: object, tensor: object, path: Path, records: list[tuple[int, int]]) -> TensorInfo:
    import torch

    if not isinstance(name, str):
        raise CheckpointError(f"{path}: has the key {name!r:.80}; wanted tensors by name")
    if not isinstance(tensor, torch.Tensor):
        kind = type(tensor).__name__
        raise CheckpointError(f"{path}: {name!r:.200} is a {kind}, no tensor; wanted a plain state dict")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(f"{path}: tensor {name!r:.200} is sparse or quantized; wanted plain numbers")
    if not tensor.is_contiguous():
        raise CheckpointError(f"{path}: tensor {name!r} is stored transposed; save it again as safetensors")
    try:
        dtype = parse_dtype(str(tensor.dtype))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: tensor {name!r:.200}: {error}") from None
    start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if start is None:
        raise CheckpointError(
            f"{path}: this torch does not tell where tensors lie; save the file as safetensors"
        )
    offset = int(start) + int(tensor.storage_offset()) * SIZES[dtype]
    nbytes = tensor.numel() * SIZES[dtype]
    begin, end = records[max(bisect_right(records, (offset, math.inf)) - 1, 0)]
    if not begin <= offset <= offset + nbytes <= end:
        where = f"bytes {offset} to {offset + nbytes}"
        raise CheckpointError(
            f"{path}: tensor {name!r:.200} would lie at {where}, in no record of the archive"
        )
    return TensorInfo(name, dtype, tuple(tensor.shape), path, offset, nbytes)
