"""PyTorch `.bin` files: where their tensors lie, learned with `weights_only` and without reading a weight."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

from m2m.checkpoint.dtypes import SIZES, parse_dtype
from m2m.checkpoint.header import Header, TensorInfo
from m2m.errors import CheckpointError


def read_pickled_header(path: Path) -> Header:
    """Find the tensors of a `.bin`, `.pt` or `.pth` file; no code in it is run.

    Args:
        path: A file written by `torch.save` (zip format) that holds a state dict.

    Returns:
        Its tensors; no metadata.

    Raises:
        CheckpointError: If the file is not a plain state dict in zip format, or a tensor is not contiguous.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: is not a PyTorch zip archive (cut off, or written before torch 1.6)")
    try:
        with FakeTensorMode():  # storages are then not loaded: they only know where they lie in the file
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be loaded with weights_only: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds more than tensors by name; wanted a plain state dict")
    size = path.stat().st_size
    return Header({name: _tensor(name, tensor, path, size) for name, tensor in state.items()}, {})


def _tensor(name: str, tensor: object, path: Path, size: int) -> TensorInfo:
    import torch

    assert isinstance(tensor, torch.Tensor)
    if not tensor.is_contiguous():
        raise CheckpointError(f"{path}: tensor {name!r} is stored transposed; save it again as safetensors")
    dtype = parse_dtype(str(tensor.dtype))
    start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if start is None:
        raise CheckpointError(
            f"{path}: this torch does not tell where tensors lie; save the file as safetensors"
        )
    offset = int(start) + int(tensor.storage_offset()) * SIZES[dtype]
    nbytes = tensor.numel() * SIZES[dtype]
    if offset + nbytes > size:
        raise CheckpointError(f"{path}: tensor {name!r} ends at byte {offset + nbytes} of {size}")
    return TensorInfo(name, dtype, tuple(tensor.shape), path, offset, nbytes)
