"""Where each tensor of a new checkpoint will lie: shards, headers and index, before a byte is written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import NamedTuple

from m2m.checkpoint.dtypes import SIZES

#: Tensor bytes start at a multiple of this, so that a memory-mapped shard is aligned for vector loads.
_ALIGNMENT = 64


class Entry(NamedTuple):
    """A tensor that is to be written.

    Attributes:
        name: Its name.
        dtype: Element type by its safetensors name.
        shape: Its shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]


@dataclass(frozen=True)
class Shard:
    """One file of a new checkpoint.

    Attributes:
        name: File name.
        header: Everything before the tensors' bytes.
        offsets: First byte of each tensor, counted from the start of the file.
        nbytes: Length of the whole file in bytes.
    """

    name: str
    header: bytes
    offsets: dict[str, int]
    nbytes: int


@dataclass(frozen=True)
class Layout:
    """All files of a new checkpoint that carry tensors.

    Attributes:
        shards: The files, in the order of their tensors.
        index: Content of `model.safetensors.index.json`, or nothing for a single file.
    """

    shards: tuple[Shard, ...]
    index: bytes | None


def plan_layout(
    entries: Iterable[Entry], metadata: Mapping[str, str], shard_bytes: int | None = None
) -> Layout:
    """Spread tensors over shards, in the given order, as Hugging Face names them.

    Args:
        entries: The tensors to write.
        metadata: Free text that every shard's header carries.
        shard_bytes: Most tensor bytes a shard; a larger tensor gets its own shard. One file when not given.

    Returns:
        Shards and index.
    """
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
