"""A checkpoint's tensors where they lie in its files, without a copy in memory.

No descriptor stays open, and bytes that cannot be read any more (the file was cut short, or its disk fails)
are zeros in place of the signal that kills a process: `check_mapped` tells of them before scores are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from m2m._core import MappedFile, take_lost_files
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.header import SIZES, TORCH_NAMES
from m2m.errors import CheckpointError

if TYPE_CHECKING:
    from m2m.checkpoint import Checkpoint
    from m2m.checkpoint.header import TensorInfo


def mapped_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Map all tensors of a checkpoint; the files must stay as they are while the tensors are in use.

    Args:
        checkpoint: The checkpoint.

    Returns:
        Tensor by name; tied tensors are one object under both names. Writing to one changes no file.

    Raises:
        CheckpointError: If a file shrank since its header was read.
    """  # noqa: DOC502 - raised by what is called
    maps: dict[Path, MappedFile] = {}
    state = {name: _mapped(info, maps) for name, info in checkpoint.tensors.items()}
    return state | {name: state[kept] for name, kept in checkpoint.tied.items()}


def mapped_tensors(infos: Iterable[TensorInfo]) -> dict[TensorInfo, Tensor]:
    """Map tensors of any checkpoints, as `mapped_state` does those of one.

    Args:
        infos: Where they lie.

    Returns:
        The tensors by their places.

    Raises:
        CheckpointError: If a file shrank since its header was read.
    """  # noqa: DOC502 - raised by what is called
    maps: dict[Path, MappedFile] = {}
    return {info: _mapped(info, maps) for info in infos}


def check_mapped() -> None:
    """Refuse what was made of bytes that could not be read.

    Raises:
        CheckpointError: If a mapped file was cut short, or its disk fails; names it.
    """
    lost = take_lost_files()
    if lost:
        raise CheckpointError(f"{lost[0]}: cannot be read any more: it was cut short, or its disk fails")


def _mapped(info: TensorInfo, maps: dict[Path, MappedFile]) -> Tensor:
    size = SIZES[info.dtype]
    if not info.nbytes or info.offset % size:  # nothing to map, or torch cannot point at it
        return read_tensor(info)
    if info.file not in maps:
        maps[info.file] = MappedFile(str(info.file))
    if len(maps[info.file]) < info.offset + info.nbytes:
        raise CheckpointError(f"{info.file}: shrank: tensor {info.name!r} is cut off")
    dtype = getattr(torch, TORCH_NAMES[info.dtype])
    flat = torch.frombuffer(maps[info.file], dtype=dtype, count=info.elements, offset=info.offset)
    return flat.view(info.shape)
