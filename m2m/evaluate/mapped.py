"""A checkpoint's tensors where they lie in its files, without a copy in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.dtypes import SIZES, TORCH_NAMES

if TYPE_CHECKING:
    from m2m.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo


def mapped_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Map all tensors of a checkpoint; the files must stay as they are while the tensors are in use.

    Args:
        checkpoint: The checkpoint.

    Returns:
        Tensor by name; tied tensors are one object under both names. Writing to one changes no file.
    """
    maps: dict[Path, mmap.mmap] = {}
    state = {name: _mapped(info, maps) for name, info in checkpoint.tensors.items()}
    return state | {name: state[kept] for name, kept in checkpoint.tied.items()}


def mapped_tensors(infos: Iterable[TensorInfo]) -> dict[TensorInfo, Tensor]:
    """Map tensors of any checkpoints, as `mapped_state` does those of one.

    Args:
        infos: Where they lie.

    Returns:
        The tensors by their places.
    """
    maps: dict[Path, mmap.mmap] = {}
    return {info: _mapped(info, maps) for info in infos}


def _mapped(info: TensorInfo, maps: dict[Path, mmap.mmap]) -> Tensor:
    size = SIZES[info.dtype]
    if not info.nbytes or info.offset % size:  # nothing to map, or torch cannot point at it
        return read_tensor(info)
    if info.file not in maps:
        with info.file.open("rb") as file:
            maps[info.file] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    dtype = getattr(torch, TORCH_NAMES[info.dtype])
    flat = torch.frombuffer(maps[info.file], dtype=dtype, count=info.elements, offset=info.offset)
    return flat.view(info.shape)
