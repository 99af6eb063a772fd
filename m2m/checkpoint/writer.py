"""Write a state dict as a new checkpoint folder, all at once or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from m2m.checkpoint.checkpoint import TIED_KEY, Checkpoint
from m2m.checkpoint.dtypes import parse_dtype
from m2m.checkpoint.folder import new_folder
from m2m.checkpoint.layout import Entry, Layout, Shard, plan_layout
from m2m.checkpoint.locate import INDEX_NAME
from m2m.checkpoint.manifest import write_manifest
from m2m.checkpoint.side_files import copy_side_files
from m2m.errors import CheckpointError
from m2m.support.units import parse_bytes

if TYPE_CHECKING:
    from torch import Tensor


def save(
    state: Mapping[str, Tensor],
    folder: str | Path,
    metadata: Mapping[str, str] | None = None,
    *,
    shard_size: str | int | None = None,
    side_files_from: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a state dict as a checkpoint folder with a manifest; it appears when it is complete and on disk.

    Tensors that share their memory (tied weights) are stored once and come back as one.

    Args:
        state: Tensor by name, on any device.
        folder: The folder to make.
        metadata: Free text for the files' headers.
        shard_size: Most tensor bytes a file, as in `5GB`; one file when not given.
        side_files_from: A checkpoint whose config, tokenizer and so on are copied.
        facts: What else the manifest should tell, as JSON.

    Returns:
        The folder.

    Raises:
        CheckpointError: If a tensor's type cannot be stored, or there are none.
        RunFolderError: If the folder exists and is not empty.
    """  # noqa: DOC502 - raised by what is called
    if not state:
        raise CheckpointError(f"{folder}: there are no tensors to save")
    tied = _find_tied(state)
    kept = {name: tensor for name, tensor in state.items() if name not in tied}
    entries = [
        Entry(name, parse_dtype(str(tensor.dtype)), tuple(tensor.shape)) for name, tensor in kept.items()
    ]
    notes = {"format": "pt", **(metadata or {})}
    if tied:
        notes[TIED_KEY] = json.dumps(tied)
    layout = plan_layout(entries, notes, None if shard_size is None else parse_bytes(shard_size))
    side_files = Checkpoint(side_files_from).side_files if side_files_from is not None else ()
    with new_folder(Path(folder)) as work:
        _write(layout, kept, work)
        copy_side_files(side_files, work)
        write_manifest(work, **(facts or {}))
    return Path(folder)


def write_index(layout: Layout, folder: Path) -> None:
    """Write the index of a sharded checkpoint; nothing for a single file.

    Args:
        layout: The checkpoint's layout.
        folder: Where its shards are.
    """
    if layout.index is not None:
        (folder / INDEX_NAME).write_bytes(layout.index)


def _find_tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    first: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in state.items():
        if tensor.numel() == 0:
            continue
        memory = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        kept = first.setdefault(memory, name)
        if kept != name:
            tied[name] = kept
    return tied


def _write(layout: Layout, state: Mapping[str, Tensor], folder: Path) -> None:
    for shard in layout.shards:
        with (folder / shard.name).open("wb") as file:
            write_shard(shard, state.__getitem__, file)
    write_index(layout, folder)


def write_shard(shard: Shard, tensor_of: Callable[[str], Tensor], file: BinaryIO) -> None:
    """Write one file of a checkpoint.

    Args:
        shard: Its layout.
        tensor_of: Gives a tensor by name, in the layout's type; asked once for each, in the file's order.
        file: Where to.
    """
    import torch

    file.write(shard.header)
    for name in shard.offsets:
        tensor = tensor_of(name).detach().to("cpu").contiguous().reshape(-1)
        file.write(tensor.view(torch.uint8).numpy().data)
