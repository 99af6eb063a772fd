"""Which files make up a checkpoint: a file, a Hugging Face folder or a hub id; and the files at its side."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path, PurePosixPath

from m2m.errors import CheckpointError
from m2m.support.doors import read_json

_SINGLE = ("model.safetensors", "pytorch_model.bin")
#: Name of the table that says which shard holds which tensor.
INDEX_NAME = "model.safetensors.index.json"
_INDEX = (INDEX_NAME, "pytorch_model.bin.index.json")
#: Names of the file that holds a LoRA adapter's factors, the preferred one first.
ADAPTER_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
#: Name of the file beside an expert that holds the second moments of the Adam that trained it.
MOMENTS_NAME = "second_moments.safetensors"
_PICKLED_SUFFIXES = frozenset({".bin", ".pt", ".pth"})
#: What is fetched of a model on the hub: weights, configuration, tokenizer, chat template, licence.
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*"]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
#: What travels with a model's weights. Code of its own (auto_map) imports or compiles files of any name.
_SIDE_FILES = (
    "config.json", "generation_config.json",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "spiece.model", "sentencepiece*.model", "*.tiktoken", "chat_template*",
    "preprocessor_config.json", "processor_config.json",
    "*.py", "*.cpp", "*.cu", "*.cuh", "*.h",
    "LICENSE*", "NOTICE*",
)  # fmt: skip


def find_folder(path: str | Path, revision: str | None = None) -> Path:
    """Turn what the user wrote into a local path, fetching from the hub what is not there."""
    local = Path(path)
    if local.exists():
        return local
    if not is_hub_id(str(path)):
        raise CheckpointError(f"{path}: no such file or folder")
    return _fetch(str(path), revision)


def is_hub_id(text: str) -> bool:
    """Whether a text is written as models on the hub are: `org/name`."""
    return _HUB_ID.fullmatch(text) is not None


def _fetch(model: str, revision: str | None) -> Path:
    # Pickled weights only where there are no others: many repositories carry both.
    try:
        hub = import_module("huggingface_hub")
    except ImportError as error:
        raise CheckpointError(
            f"{model}: no such folder, and to fetch it from the hub huggingface_hub is needed "
            "(pip install m2m[huggingface])"
        ) from error
    try:
        folder = Path(hub.snapshot_download(model, revision=revision, allow_patterns=_WANTED))
        if not any(folder.glob("*.safetensors")):
            folder = Path(hub.snapshot_download(model, revision=revision, allow_patterns=[*_WANTED, "*.bin"]))
    except Exception as error:  # whatever the client raises: network, authorisation, unknown id
        raise CheckpointError(
            f"{model}: no such folder, and it cannot be fetched from the hub: {error}"
        ) from error
    return folder


def find_index(root: Path) -> tuple[Path, ...]:
    """The table of a checkpoint's shards, if there is one."""
    return tuple(root / index for index in _INDEX if (root / index).is_file())


def weight_files(root: Path) -> tuple[tuple[Path, ...], dict[str, str] | None]:
    """List the files with a checkpoint's tensors, and its index (tensor name to file name) if it has one."""
    if root.is_file():
        if root.suffix != ".safetensors" and not is_pickled(root):
            raise CheckpointError(f"{root}: wanted a folder, or a .safetensors, .bin, .pt or .pth file")
        return (root,), None
    for single, index in zip(_SINGLE, _INDEX, strict=True):
        has_single, has_index = (root / single).exists(), (root / index).exists()
        if has_single and has_index:
            raise CheckpointError(f"{root}: has both {single} and {index}; one of them is stale: delete it")
        if has_single:
            return (root / single,), None
        if has_index:
            weight_map = _read_index(root / index)
            return tuple(root / name for name in sorted(set(weight_map.values()))), weight_map
    raise CheckpointError(f"{root}: holds no checkpoint; wanted one of {', '.join((*_SINGLE, *_INDEX))}")


def is_pickled(file: Path) -> bool:
    """Whether a weight file is in PyTorch's own format."""
    return file.suffix in _PICKLED_SUFFIXES


def _read_index(path: Path) -> dict[str, str]:
    index = read_json(path, "an index of shards", CheckpointError, {"weight_map": {str: str}})
    weight_map: dict[str, str] = index["weight_map"]
    if not weight_map:
        raise CheckpointError(f"{path}: weight_map names no tensor")
    for tensor, name in weight_map.items():
        if not _stays_inside(name):
            raise CheckpointError(
                f"{path}: tensor {tensor!r}: shard {name!r:.200} is not a file name inside the folder"
            )
        if not (path.parent / name).is_file():
            raise CheckpointError(f"{path}: tensor {tensor!r}: shard {name!r} is missing")
    return weight_map


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    plain = name.isprintable() and "\\" not in name and ":" not in name
    return plain and bool(parts) and not name.startswith("/") and ".." not in parts and len(name) < 256


def list_side_files(folder: Path) -> tuple[Path, ...]:
    """List the files that travel with a model, by name; refuses links to nothing, pipes and devices."""
    found = sorted(
        path for path in folder.iterdir() if any(fnmatchcase(path.name, pattern) for pattern in _SIDE_FILES)
    )
    for path in found:
        if path.is_symlink() and not path.exists():
            raise CheckpointError(
                f"{path}: is a link to {os.readlink(path)}, which is not there: fetch the file again, or "
                "remove the link if the model does not need it"
            )
        if not path.is_file() and (path.suffix or not path.is_dir()):
            raise CheckpointError(
                f"{path}: is no file, though a model needs one of that name: put the file there, or remove it"
            )
    return tuple(path for path in found if path.is_file())


def copy_side_files(files: Iterable[Path], folder: Path) -> None:
    """Copy side files into a new model's folder."""
    for file in files:
        shutil.copyfile(file, folder / file.name)
