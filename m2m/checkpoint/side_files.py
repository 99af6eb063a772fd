"""The files at a checkpoint's side, configuration, tokenizer, licence: which travel with it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from m2m.errors import CheckpointError
from m2m.support.doors import POINTER, reading, refuse_pointer

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
#: How files of weights end.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
#: Side files are small; what is larger belongs to something else.
_MOST_BYTES = 256 * 2**20


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
    elif not any(path.name.endswith(_WEIGHTS) for path in files):
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
