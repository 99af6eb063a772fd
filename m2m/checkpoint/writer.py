"""Write a state dict as a new checkpoint folder, all at once or not at all.

Where each tensor will lie (shards, headers, index) is planned before a byte is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from m2m.checkpoint.checkpoint import TIED_KEY, Checkpoint
from m2m.checkpoint.folder import new_folder
from m2m.checkpoint.header import SIZES, parse_dtype
from m2m.checkpoint.locate import INDEX_NAME
from m2m.checkpoint.manifest import write_manifest
from m2m.checkpoint.side_files import copy_side_files
from m2m.errors import CheckpointError
from m2m.support.files import replacing
from m2m.support.units import parse_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Tensor bytes start at a multiple of this, so that a memory-mapped shard is aligned for vector loads.
_ALIGNMENT = 64


class Entry(NamedTuple):
    """A tensor that is to be written; its dtype by its safetensors name."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]


@dataclass(frozen=True)
class Shard:
    """One file of a new checkpoint."""

    name: str
    #: Everything before the tensors' bytes.
    header: bytes
    #: First byte of each tensor, counted from the start of the file.
    offsets: dict[str, int]
    #: Length of the whole file.
    nbytes: int


@dataclass(frozen=True)
class Layout:
    """All files of a new checkpoint that carry tensors."""

    shards: tuple[Shard, ...]
    #: Content of `model.safetensors.index.json`, or nothing for a single file.
    index: bytes | None


def plan_layout(
    entries: Iterable[Entry], metadata: Mapping[str, str], shard_bytes: int | None = None
) -> Layout:
    """Spread tensors over shards of at most `shard_bytes`, in the given order, as Hugging Face names them."""
    groups = _group(entries, shard_bytes)
    count = len(groups)
    names = (
        ["model.safetensors"]
        if count == 1
        else [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    )
    shards = tuple(_shard(name, group, metadata) for name, group in zip(names, groups, strict=True))
    return Layout(shards, None if count == 1 else _index(shards, groups))


def _group(entries: Iterable[Entry], shard_bytes: int | None) -> list[list[Entry]]:
    groups: list[list[Entry]] = [[]]
    filled = 0
    for entry in entries:
        nbytes = entry.nbytes
        if shard_bytes is not None and groups[-1] and filled + nbytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(entry)
        filled += nbytes
    return groups


def _shard(name: str, entries: list[Entry], metadata: Mapping[str, str]) -> Shard:
    # Wide types first: then every tensor is aligned to its own element.
    ordered = sorted(entries, key=lambda entry: -SIZES[entry.dtype])
    rows = [f'"__metadata__":{_json(dict(metadata))}'] if metadata else []
    starts: dict[str, int] = {}
    position = 0
    for entry in ordered:
        starts[entry.name] = position
        end = position + entry.nbytes
        # Written by hand: the general writer takes ten times as long, for every tensor of a merge.
        shape = ",".join(map(str, entry.shape))
        rows.append(
            f'{encode_basestring(entry.name)}:{{"dtype":"{entry.dtype}","shape":[{shape}],'
            f'"data_offsets":[{position},{end}]}}'
        )
        position = end
    text = f"{{{','.join(rows)}}}".encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    header = len(text).to_bytes(8, "little") + text
    return Shard(
        name, header, {name: len(header) + start for name, start in starts.items()}, len(header) + position
    )


def _json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def _index(shards: tuple[Shard, ...], groups: list[list[Entry]]) -> bytes:
    total = sum(entry.nbytes for group in groups for entry in group)
    weight_map = {name: shard.name for shard in shards for name in shard.offsets}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def save(
    state: Mapping[str, Tensor],
    folder: str | Path,
    metadata: Mapping[str, str] | None = None,
    *,
    shard_size: str | int | None = None,
    side_files_from: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
    beside: Mapping[str, Mapping[str, Tensor]] | None = None,
    texts: Mapping[str, str] | None = None,
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
        beside: Other safetensors files in the folder, which are no weights: tensors by name, by file name.
        texts: Other files in the folder: text by file name.

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
    side_files = Checkpoint(side_files_from).side_files if side_files_from is not None else {}
    with new_folder(Path(folder)) as work:
        _write(layout, kept, work)
        copy_side_files(side_files, work)
        for name, tensors in (beside or {}).items():
            save_file(tensors, work / name)
        for name, text in (texts or {}).items():
            (work / name).write_text(text, encoding="utf-8")
        write_manifest(work, **(facts or {}))
    return Path(folder)


def save_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as one safetensors file, in place of what is there; each is asked for once, in turn."""
    entries = [
        Entry(name, parse_dtype(str(tensor.dtype)), tuple(tensor.shape)) for name, tensor in tensors.items()
    ]
    with replacing(path) as file:
        write_shard(
            _shard(path.name, entries, {"format": "pt", **(metadata or {})}), tensors.__getitem__, file
        )


def write_index(layout: Layout, folder: Path) -> None:
    """Write the index of a sharded checkpoint; nothing for a single file."""
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
    """Write one file; `tensor_of` is asked once for each tensor, in the file's order."""
    import torch

    file.write(shard.header)
    for name in shard.offsets:
        tensor = tensor_of(name).detach().to("cpu").contiguous().reshape(-1)
        file.write(tensor.view(torch.uint8).numpy().data)
