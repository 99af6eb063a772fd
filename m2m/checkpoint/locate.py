"""Which files make up a checkpoint: a file, a Hugging Face folder, a hub id, or a URL."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path, PurePosixPath

from m2m.checkpoint.remote.session import mirrored
from m2m.errors import CheckpointError
from m2m.support.doors import read_json
from m2m.support.extras import installing

_SINGLE = ("model.safetensors", "pytorch_model.bin")
#: Name of the table that says which shard holds which tensor.
INDEX_NAME = "model.safetensors.index.json"
_INDEX = (INDEX_NAME, "pytorch_model.bin.index.json")
#: Names of the file that holds a LoRA adapter's factors, the preferred one first.
ADAPTER_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
#: Name of the file beside an expert that holds the second moments of the Adam that trained it.
MOMENTS_NAME = "second_moments.safetensors"
#: Name of the file beside a trained model that holds the losses of its training.
CURVE_NAME = "loss.csv"
_PICKLED_SUFFIXES = frozenset({".bin", ".pt", ".pth"})
#: What is fetched of a model on the hub: weights, configuration, tokenizer, chat template, licence.
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*"]
_SHARD = re.compile(r".*-\d+-of-\d+\.(?:safetensors|bin)")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_folder(path: str | Path, revision: str | None = None) -> Path:
    """Turn what the user wrote into a local path: of a URL a mirror; what is not there comes from the hub."""
    elsewhere = mirrored(path, revision)
    if elsewhere is not None:
        return elsewhere
    local = Path(path)
    if local.exists():
        return _snapshot(local, revision)
    if not is_hub_id(str(path)):
        raise CheckpointError(f"{path}: no such file or folder")
    return _fetch(str(path), revision)


def _snapshot(folder: Path, revision: str | None) -> Path:
    # Of a model in the hub's cache (models--org--name) the snapshot that is meant, else the folder itself.
    snapshots = folder / "snapshots"
    if not (folder / "refs").is_dir() or not snapshots.is_dir():
        return folder
    ref = folder / "refs" / (revision or "main")
    named = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    there = sorted(path.name for path in snapshots.iterdir() if path.is_dir())
    if named is None and len(there) == 1:
        named = there[0]
    if named not in there:
        raise CheckpointError(
            f"{folder}: is a model in the hub's cache, of which the snapshot {named or 'main'!r} is not "
            f"there; name one of {', '.join(there) or 'none'} as {folder}/snapshots/…"
        )
    return snapshots / named


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
            f"({installing('huggingface')})"
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
            gguf = "; GGUF is not merged: fetch the model in safetensors" if root.suffix == ".gguf" else ""
            raise CheckpointError(f"{root}: wanted a folder, or a .safetensors, .bin, .pt or .pth file{gguf}")
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
    raise CheckpointError(f"{root}: holds no checkpoint; {_what_to_do(root)}")


def _what_to_do(root: Path) -> str:
    # About a folder without a file of weights that has the name such files have.
    names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    shards = [name for name in names if _SHARD.fullmatch(name)]
    others = [name for name in names if name.endswith(".safetensors")]
    if shards:
        return f"it has the shard {shards[0]} but no {_INDEX[is_pickled(Path(shards[0]))]}: fetch that too"
    if len(others) == 1:
        return f"if its weights are in {others[0]}, name that file itself: {root / others[0]}"
    if gguf := [name for name in names if name.endswith(".gguf")]:
        return f"{gguf[0]} is GGUF, which is not merged: fetch the model in safetensors"
    return f"wanted one of {', '.join((*_SINGLE, *_INDEX))}"


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
