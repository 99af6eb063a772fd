"""A Hugging Face model folder: its module in its own dtype, and its tokens (extra `huggingface`)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.dtypes import MERGEABLE, TORCH_NAMES
from m2m.errors import ConfigError
from m2m.evaluate.stored_names import use_stored_names

#: Longest window unless the user says so: attention costs grow with its square.
CONTEXT = 1024
#: Names under which configurations keep the longest input.
_LONGEST = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")


class HuggingFaceFolder:
    """A folder with configuration, weights and tokenizer; nothing is loaded before it is asked for.

    Args:
        folder: The folder.
        context: Longest input, in tokens; None: what the model takes, at most `CONTEXT`.

    Attributes:
        input_name: `input_ids`.

    Raises:
        ConfigError: If transformers is not installed, or the model takes fewer tokens than `context`.
    """

    input_name = "input_ids"

    def __init__(self, folder: Path, context: int | None = None) -> None:
        try:
            from transformers import AutoConfig
        except ImportError as error:
            raise ConfigError(f'{folder} needs transformers: pip install "m2m[huggingface]"') from error
        self._folder = folder
        try:
            self._config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{folder}: no model that transformers knows: {_first_line(error)}") from error
        longest = next(
            (getattr(self._config, name) for name in _LONGEST if hasattr(self._config, name)), None
        )
        if context is not None and longest is not None and context > longest:
            raise ConfigError(f"{folder} takes at most {longest} tokens, got a context of {context}")
        self.context = context or min(CONTEXT, longest or CONTEXT)

    @property
    def classifies(self) -> bool:
        """Whether it is a sequence classifier; otherwise it counts as a causal language model."""
        return any(name.endswith("ForSequenceClassification") for name in self._config.architectures or ())

    @property
    def architecture(self) -> str:
        """Content hash of the configuration."""
        return hashlib.sha256((self._folder / "config.json").read_bytes()).hexdigest()[:16]

    def build_empty(self) -> nn.Module:
        """Build the module without reading weights, in the dtype that they are stored in.

        Returns:
            The module, in evaluation mode, with weights as for training from scratch.

        Raises:
            ConfigError: If transformers has no such model.
        """
        import transformers

        auto = getattr(transformers, self._auto)
        try:
            return self._ready(auto.from_config(self._config, dtype=_stored_dtype(self._folder)))
        except ValueError as error:
            raise ConfigError(f"{self._folder}: no model for {self._auto}: {_first_line(error)}") from error

    def build(self) -> nn.Module:
        """Build the module with the folder's weights, in the dtype that they are stored in.

        Returns:
            The module, in evaluation mode.

        Raises:
            ConfigError: If the folder holds no such model.
        """
        import transformers

        try:
            with _no_bar():
                model = getattr(transformers, self._auto).from_pretrained(
                    self._folder, local_files_only=True, dtype=_stored_dtype(self._folder)
                )
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._folder}: no model for {self._auto}: {_first_line(error)}") from error
        return self._ready(model)

    @property
    def _auto(self) -> str:
        return "AutoModelForSequenceClassification" if self.classifies else "AutoModelForCausalLM"

    def _ready(self, model: Any) -> nn.Module:
        model.config.use_cache = False  # scoring reads every row once: keys and values kept would be waste
        module: nn.Module = model.eval()
        use_stored_names(module)
        return module

    @cached_property
    def tokenizer(self) -> Any:
        """The folder's tokenizer.

        Raises:
            ConfigError: If the folder has none.
        """
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._folder}: no tokenizer: {_first_line(error)}") from error

    @property
    def start(self) -> Sequence[int]:
        """The token that begins a text, or else the one that ends it; none if there is neither."""
        first = self.tokenizer.bos_token_id
        token = self.tokenizer.eos_token_id if first is None else first
        return () if token is None else (token,)

    @property
    def pad(self) -> int:
        """The token that fills up rows."""
        token = self._config.pad_token_id
        return 0 if token is None else int(token)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Turn text into tokens.

        Args:
            text: Any text.
            special: Whether the tokenizer adds its special tokens.

        Returns:
            Token numbers.
        """
        tokens: list[int] = self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
        return tokens


def is_model_folder(path: Path) -> bool:
    """Whether a path is a Hugging Face model folder.

    Args:
        path: Any path.

    Returns:
        True if it is a folder with a `config.json`.
    """
    return (path / "config.json").is_file()


@contextmanager
def _no_bar() -> Iterator[None]:
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _stored_dtype(folder: Path) -> torch.dtype:
    # The dtype of most weights; a tensor of another one is refused by name when states are held against it.
    elements: Counter[str] = Counter()
    for tensor in Checkpoint(folder).tensors.values():
        if tensor.dtype in MERGEABLE:
            elements[tensor.dtype] += tensor.elements
    if not elements:
        raise ConfigError(f"{folder} holds no floating-point weights")
    dtype: torch.dtype = getattr(torch, TORCH_NAMES[elements.most_common(1)[0][0]])
    return dtype


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
