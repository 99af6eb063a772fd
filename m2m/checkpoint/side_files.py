"""The files beside the weights that make a folder a usable model: config, tokenizer, chat template."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from m2m.errors import CheckpointError

_PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece*.model",
    "*.tiktoken",
    "chat_template*",
    "preprocessor_config.json",
    "processor_config.json",
    # Code of a model's own (auto_map): what it imports or compiles has any name.
    "*.py",
    "*.cpp",
    "*.cu",
    "*.cuh",
    "*.h",
    "LICENSE*",
    "NOTICE*",
)


def list_side_files(folder: Path) -> tuple[Path, ...]:
    """List the files that travel with a model.

    Args:
        folder: A model folder.

    Returns:
        The files, by name.

    Raises:
        CheckpointError: If one is a link to nothing, a pipe, a device, or a folder with a file's name:
            without it the model would not be what it says.
    """
    found = sorted(
        path for path in folder.iterdir() if any(fnmatchcase(path.name, pattern) for pattern in _PATTERNS)
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
    """Copy side files into a new model's folder.

    Args:
        files: What to copy.
        folder: Where to; exists.
    """
    for file in files:
        shutil.copyfile(file, folder / file.name)
