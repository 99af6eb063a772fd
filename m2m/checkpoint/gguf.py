"""GGUF, llama.cpp's file of a model and its tokenizer, turned into a Hugging Face folder (extra `gguf`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from m2m.checkpoint.hugging_face import nobody_to_ask
from m2m.errors import ConfigError
from m2m.support.doors import reading, require_file
from m2m.support.extras import installing

#: What reads such a file.
_NEEDED = ("transformers", "accelerate", "gguf")


def require_readers(what: str) -> None:
    """Refuse to begin where a package that reads GGUF is missing; `what` begins the message."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise ConfigError(f"{what} needs {', '.join(missing)}: {installing('gguf')}")


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the causal language model of a GGUF file as a Hugging Face folder with its tokenizer.

    Weights of fewer bits are widened to float32, which holds each of them exactly: the model is the one that
    the file has, rounded as it is, and fine-tuning starts there.

    Args:
        file: The GGUF file.
        folder: A new or an empty folder; gets `config.json`, `model.safetensors` and the tokenizer's files.

    Raises:
        ConfigError: If a package that reads GGUF is missing, or transformers cannot read the file.
        OSError: If the folder cannot be written.
    """  # noqa: DOC502 - raised by what is called
    require_readers(f"{file}: GGUF")
    require_file(file, "a model in GGUF", ConfigError)
    with reading("a model in GGUF that transformers knows", file, ConfigError), _quietly(), nobody_to_ask():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = {"gguf_file": file.name, "local_files_only": True}
        packed: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, **source, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **source, trust_remote_code=False)
        # Transformers takes a model that was read from GGUF for a quantised one, and does not save it.
        if hasattr(packed.config, "quantization_config"):
            del packed.config.quantization_config
        plain = type(packed)(packed.config)
        plain.load_state_dict(packed.state_dict())
    with _quietly():
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    # Its bar over the tensors cannot be switched off, and writes to wherever the errors go.
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stderr(nothing):
        yield
