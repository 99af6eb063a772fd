"""A checkpoint on disk: what is in it is known from its headers; a tensor is read when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.checkpoint.header import MAX_HEADER_BYTES, TORCH_NAMES, Header, TensorInfo, read_header
from m2m.checkpoint.identity import Identity, check_unchanged, identify
from m2m.checkpoint.locate import find_folder, find_index, is_pickled, weight_files
from m2m.checkpoint.remote.mirror import telling
from m2m.checkpoint.remote.session import bring_headers, origin_of
from m2m.checkpoint.side_files import list_side_files
from m2m.errors import CheckpointError
from m2m.support.doors import read_json, unique_names
from m2m.support.files import naming

if TYPE_CHECKING:
    from torch import Tensor

#: Metadata key under which tensors that are only another name of a stored one are listed, as JSON.
TIED_KEY = "m2m.tied"
#: Bytes that are read at a time of a tensor that lies elsewhere.
_BLOCK_BYTES = 1 << 23


class Checkpoint:
    """A model's tensors in one safetensors file, a Hugging Face folder, or PyTorch `.bin` files.

    Opening one looks at file names only; headers are read and checked on first use of `tensors`.

    Attributes:
        path: The local file or folder.
        files: The files that hold its tensors.
        opened: What they and their index were when it was opened.
    """

    def __init__(self, path: str | Path, revision: str | None = None) -> None:
        """Find the files of a checkpoint.

        Args:
            path: A local file or folder, or a model id on the Hugging Face hub.
            revision: Branch, tag or commit of a model id.

        Raises:
            CheckpointError: If there is no checkpoint, or its index is malformed.
        """  # noqa: DOC502 - raised by what is called
        self.path = find_folder(path, revision)
        index = find_index(self.path)
        self.opened: dict[Path, Identity] = identify(index)
        self.files, self._weight_map = weight_files(self.path)
        self.opened |= identify(self.files)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r})"

    @cached_property
    def _headers(self) -> dict[Path, Header]:
        bring_headers((file for file in self.files if not is_pickled(file)), MAX_HEADER_BYTES)
        return {file: _read_any_header(file) for file in self.files}

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """Stored tensors by name, in the order in which they lie on disk.

        Raises:
            CheckpointError: If a header is malformed, a tensor is not in the shard that the index names, or
                there is none.
        """
        found: dict[str, TensorInfo] = {}
        for file, header in self._headers.items():
            for name, tensor in header.tensors.items():
                if name in found:
                    raise CheckpointError(
                        f"{self.path}: tensor {name!r} is in both {found[name].file.name} and {file.name}"
                    )
                found[name] = tensor
        self._check_index(found)
        if not found:
            raise CheckpointError(f"{self.path}: holds no tensor")
        return found

    def _check_index(self, found: dict[str, TensorInfo]) -> None:
        if self._weight_map is None:
            return
        for name in self._weight_map.keys() ^ found.keys():
            where = (
                f"in {found[name].file.name} but not in the index" if name in found else "in the index only"
            )
            raise CheckpointError(f"{self.path}: tensor {name!r} is {where}")
        for name, shard in self._weight_map.items():
            if found[name].file != self.path / shard:
                raise CheckpointError(
                    f"{self.path}: tensor {name!r} is in {found[name].file.name}, the index says {shard}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored tensors."""
        return tuple(self.tensors)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Free text of the files' headers by key; the first file's where they differ."""
        merged: dict[str, str] = {}
        for header in self._headers.values():
            merged = header.metadata | merged
        return merged

    @cached_property
    def tied(self) -> dict[str, str]:
        """Tensors that are another name of a stored one, as far as the metadata tells.

        Raises:
            CheckpointError: If the metadata is malformed, differs between files, names a tensor that is not
                stored, or gives a stored one another's values.
        """
        texts = {
            header.metadata[TIED_KEY] for header in self._headers.values() if TIED_KEY in header.metadata
        }
        if len(texts) > 1:
            raise CheckpointError(f"{self.path}: its files differ in the metadata {TIED_KEY!r}")
        try:
            tied = json.loads(texts.pop() if texts else "{}", object_pairs_hook=unique_names)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.path}: metadata {TIED_KEY!r} is not JSON: {error}") from error
        if not isinstance(tied, dict) or not all(_is_stored(kept, self.tensors) for kept in tied.values()):
            raise CheckpointError(
                f"{self.path}: metadata {TIED_KEY!r} names tensors that are not stored: {tied!r:.200}"
            )
        for name in tied.keys() & self.tensors.keys():
            raise CheckpointError(
                f"{self.path}: metadata {TIED_KEY!r} calls {name!r} another name of {tied[name]!r}, but it "
                "is stored itself"
            )
        return tied

    @property
    def side_files(self) -> dict[str, Path]:
        """Config, tokenizer, chat template and the like, by name; none when it is a single file."""
        return list_side_files(self.path) if self.path.is_dir() else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """What `config.json` says; empty where there is none.

        Raises:
            CheckpointError: If it is not a JSON object.
        """  # noqa: DOC502 - raised by what is called
        file = self.side_files.get("config.json")
        return {} if file is None else read_json(file, "a model's configuration", CheckpointError, {})

    def read(self, name: str) -> Tensor:
        """Read one tensor.

        Args:
            name: Its name; a tied tensor's other name is understood.

        Returns:
            The tensor, in its stored dtype and in memory of its own. [*shape]

        Raises:
            CheckpointError: If there is no such tensor, or its file shrank since the header was read.
        """
        info = self.tensors.get(self.tied.get(name, name))
        if info is None:
            raise CheckpointError(f"{self.path}: holds no tensor {name!r}")
        return read_tensor(info)

    def state(self) -> dict[str, Tensor]:
        """Read all tensors.

        Returns:
            Tensor by name; tied tensors are one object under both names.

        Raises:
            CheckpointError: If a file changed since it was opened.
        """  # noqa: DOC502 - raised by what is called
        state = {name: self.read(name) for name in self.tensors}
        self.check_unchanged()
        return state | {name: state[kept] for name, kept in self.tied.items()}

    def check_unchanged(self) -> None:
        """Hold the files against what they were when the checkpoint was opened.

        Raises:
            CheckpointError: If one was written to, replaced or removed; names it.
        """  # noqa: DOC502 - raised by what is called
        check_unchanged(self.opened)


def opened_files(models: Iterable[Checkpoint]) -> dict[Path, Identity]:
    """Gather the files of checkpoints, each as it was when it was first opened."""
    found: dict[Path, Identity] = {}
    for model in models:
        for file, identity in model.opened.items():
            found.setdefault(file, identity)
    return found


def read_tensor(info: TensorInfo) -> Tensor:
    """Read one tensor in its stored dtype, into memory of its own: [*shape]."""
    import torch

    tensor = torch.empty(info.shape, dtype=getattr(torch, TORCH_NAMES[info.dtype]))
    if info.nbytes:
        _read_into(tensor.reshape(-1).view(torch.uint8).numpy().data, info)
    return tensor


def _is_stored(name: object, tensors: dict[str, TensorInfo]) -> bool:
    return isinstance(name, str) and name in tensors


def _read_any_header(file: Path) -> Header:
    if is_pickled(file):
        if origin_of(file) is not None:
            raise CheckpointError(
                f"{file}: is in PyTorch's own format, which cannot be read in parts from afar: fetch the "
                "model, or name one in safetensors"
            )
        from m2m.checkpoint.pickled import read_pickled_header

        return read_pickled_header(file)
    return read_header(file)


def _read_into(buffer: memoryview, info: TensorInfo) -> None:
    origin = origin_of(info.file)
    if origin is not None:
        with telling():
            for begin in range(0, info.nbytes, _BLOCK_BYTES):
                end = min(begin + _BLOCK_BYTES, info.nbytes)
                buffer[begin:end] = origin.read(info.offset + begin, end - begin)
        return
    with naming(info.file), info.file.open("rb", buffering=0) as file:
        file.seek(info.offset)
        done = 0
        while done < info.nbytes:
            count = file.readinto(buffer[done:])
            if not count:
                raise CheckpointError(
                    f"{info.file}: shrank: tensor {info.name!r} is cut off at byte {info.offset + done}"
                )
            done += count
