"""Files of torch.save: the one door through which they are read, and where the tensors of a `.bin` file lie.

Always with `weights_only`: no code in a file is run. The header of a `.bin` file takes no weight into memory.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
import zipfile
from bisect import bisect_right
from pathlib import Path
from typing import Any

from m2m.checkpoint.header import SIZES, Header, TensorInfo, parse_dtype
from m2m.errors import CheckpointError, InputError
from m2m.support.doors import reading, refuse_pointer, require_file

_WHAT = "a PyTorch state dict that weights_only loads"
#: Bit of a zip member's flags.
_ENCRYPTED = 1
#: Where a zip member's header tells the lengths of its name and its extra field.
_NAME_LENGTH = 26
#: How a zip archive begins, and what stands among the first bytes of a file of torch.save before torch 1.6.
_ARCHIVE, _LEGACY, _BEGINNING = b"PK\x03\x04", b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", 32
_REFUSED = re.compile(r"GLOBAL (\S+)")


def load_pickled(path: Path, what: str, error: type[InputError] = CheckpointError) -> Any:
    """Load what torch.save wrote, in today's format or in that from before torch 1.6.

    Args:
        path: The file.
        what: What it should be, as in `a PyTorch state dict`.
        error: Class of the error.

    Returns:
        Its content; the tensors of an archive stay in the file until they are used.

    Raises:
        InputError: Of class `error`, if it cannot be read, is no such file, or holds more than data.
    """  # noqa: DOC502 - raised by what is called
    return _loaded(path, what, error, mmap=_is_archive(path, what, error))


def read_pickled_header(path: Path) -> Header:
    """Find the tensors of a `.bin`, `.pt` or `.pth` file; no code in it is run."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    if not _is_archive(path, _WHAT, CheckpointError):
        raise CheckpointError(f"{path}: is not a zip archive, as torch.save writes since 1.6: save it again")
    with reading(_WHAT, path, CheckpointError):
        records = _records(path)
        with FakeTensorMode():  # storages are then not loaded: they only know where they lie in the file
            state = _loaded(path, _WHAT, CheckpointError, mmap=False)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: holds a {type(state).__name__}; wanted tensors by name")
        return Header({name: _tensor(name, value, path, records) for name, value in state.items()}, {})


def _is_archive(path: Path, what: str, error: type[InputError]) -> bool:
    # False for the format before torch 1.6; what is in neither is refused.
    require_file(path, what, error)
    with reading(what, path, error):
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        if zipfile.is_zipfile(path):
            return True
    refuse_pointer(path, beginning, error)
    if _LEGACY in beginning:
        return False
    why = "it is not a file of torch.save (neither a zip archive nor its older format)"
    if not beginning:
        why = "it is empty"
    elif beginning.startswith(_ARCHIVE):
        why = "it is a zip archive that is cut off"
    raise error(f"{path} is not {what}: {why}")


def _loaded(path: Path, what: str, error: type[InputError], *, mmap: bool) -> Any:
    import torch

    with reading(what, path, error), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about storages of old files
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as failure:
            if "weights_only" not in str(failure):
                raise
            # torch goes on to advise loading it all the same, which would run it.
            refused = _REFUSED.search(str(failure))
            found = repr(refused[1])[:80] if refused else "more than that"
            raise error(
                f"{path} is not {what}: wanted tensors, numbers, text and tables of them, it holds {found}"
            ) from failure


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
