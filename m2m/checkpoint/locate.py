"""Which files make up a checkpoint: a file, a Hugging Face folder or a hub id; and the files at its side."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path, PurePosixPath

from m2m.errors import CheckpointError
from m2m.support.doors import POINTER, read_json, reading, refuse_pointer

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
#: Files that a model is not usable without, so that a link to nothing is an error. Others travel if they can.
_NEEDED = (
    "config.json", "generation_config.json",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "spiece.model", "sentencepiece*.model", "*.tiktoken", "chat_template*",
    "preprocessor_config.json", "processor_config.json", "modules.json",
    "*.py", "*.cpp", "*.cu", "*.cuh", "*.h",
    "LICENSE*", "NOTICE*",
)  # fmt: skip
#: What does not travel: weights in any format, what m2m and trainers write beside them, the model's own card.
_LEFT = (
    "*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.ggml", "*.msgpack", "*.h5", "*.onnx*",
    "*.tflite", "*.pkl", "*.npz", "*.ot", "*.index.json", "README*", "manifest.json", "statistics.json",
    "adapter_config.json", "trainer_state.json", "train_results.json", "eval_results.json",
    "all_results.json", "events.out.*", "*.log", "*.jsonl", "*.parquet", "*.arrow",
)  # fmt: skip
#: Folders of a model that hold no part of it: other formats, and what a training left.
_OTHER_FOLDERS = (
    "checkpoint-*", "global_step*", "runs", "logs", "wandb", "onnx", "openvino", "coreml", "original",
    "__pycache__",
)  # fmt: skip
#: A sentence embedder's modules lie in numbered folders, some with weights that no merge touches.
_MODULE = re.compile(r"\d+_\w+")
#: Side files are small; what is larger belongs to something else.
_MOST_BYTES = 256 * 2**20


def find_folder(path: str | Path, revision: str | None = None) -> Path:
    """Turn what the user wrote into a local path, fetching from the hub what is not there."""
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


def list_side_files(folder: Path) -> dict[str, Path]:
    """List the files that travel with a model, by their names in its folder; refuses links to nothing."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if any(fnmatchcase(path.name, pattern) for pattern in _NEEDED):
            _check_there(path)
        if path.is_dir():
            found |= {f"{path.name}/{name}": file for name, file in _inside(path)}
        elif _travels(path):
            found[path.name] = path
    return found


def _check_there(path: Path) -> None:
    # That it is a file, and the file itself.
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path}: is a link to {os.readlink(path)}, which is not there: fetch the file again, or "
            "remove the link if the model does not need it"
        )
    if not path.is_file() and (path.suffix or not path.is_dir()):
        raise CheckpointError(
            f"{path}: is no file, though a model needs one of that name: put the file there, or remove it"
        )
    if path.is_file():
        with reading("a model's file", path, CheckpointError), path.open("rb") as file:
            beginning = file.read(len(POINTER))
        refuse_pointer(path, beginning, CheckpointError)


def _inside(folder: Path) -> Iterator[tuple[str, Path]]:
    """Walk over a sub-folder's files that belong to the model."""
    module = bool(_MODULE.fullmatch(folder.name))
    other = any(fnmatchcase(folder.name, pattern) for pattern in _OTHER_FOLDERS)
    if folder.is_symlink() or folder.name.startswith(".") or other:
        return
    # A folder with weights of its own is another model, unless it is a module of this one.
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    if module:
        yield from ((path.name, path) for path in files)
    elif not any(path.name.endswith((".safetensors", *_PICKLED_SUFFIXES)) for path in files):
        yield from ((path.name, path) for path in files if _travels(path))


def _travels(path: Path) -> bool:
    left = path.name.startswith(".") or any(fnmatchcase(path.name, pattern) for pattern in _LEFT)
    return path.is_file() and not left and path.stat().st_size <= _MOST_BYTES


def copy_side_files(files: Mapping[str, Path], folder: Path) -> None:
    """Copy side files, given by their names there, into a new model's folder."""
    for name, file in files.items():
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, place)
