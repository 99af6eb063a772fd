"""The files beside the weights that make a folder a usable model: config, tokenizer, chat template."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from m2m.checkpoint.dtypes import TORCH_NAMES
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
    "configuration_*.py",
    "modeling_*.py",
    "tokenization_*.py",
    "LICENSE*",
    "NOTICE*",
)


def list_side_files(folder: Path) -> tuple[Path, ...]:
    """List the files that travel with a model.

    Args:
        folder: A model folder.

    Returns:
        The files, by name.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple(path for path in files if any(fnmatchcase(path.name, pattern) for pattern in _PATTERNS))


def copy_side_files(files: tuple[Path, ...], folder: Path, dtype: str | None = None) -> None:
    """Copy side files into a new model's folder.

    Args:
        files: What to copy.
        folder: Where to; exists.
        dtype: Safetensors name of the one float type of the new model; `config.json` is made to say so.

    Raises:
        CheckpointError: If `config.json` is not JSON.
    """  # noqa: DOC502 - raised by what is called
    for file in files:
        shutil.copyfile(file, folder / file.name)
        if file.name == "config.json" and dtype is not None:
            _set_config_dtype(folder / file.name, TORCH_NAMES[dtype])


def _set_config_dtype(path: Path, dtype: str) -> None:
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"config.json of the donor is not JSON: {error}") from error
    key = "dtype" if "dtype" in config and "torch_dtype" not in config else "torch_dtype"
    if config.get(key) != dtype:
        config[key] = dtype
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
