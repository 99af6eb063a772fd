"""From text to what a language model reads, and how its forward calls it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Protocol

from torch import nn

from m2m.errors import ConfigError


class Tokens(Protocol):
    """What a task needs to know of a language model, besides its weights."""

    @property
    def context(self) -> int:
        """Longest input, in tokens."""

    @property
    def start(self) -> Sequence[int]:
        """What a text with nothing before it is predicted from: one token, or none."""

    @property
    def pad(self) -> int:
        """What fills up rows that are shorter than others."""

    @property
    def input_name(self) -> str:
        """Name of the tokens among the arguments of the model's forward."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Turn text into token numbers, with the model's special tokens around it or without."""


class ByteTokens:
    """Bytes as tokens, for a module of the user's own that has no tokenizer.

    Args:
        model: Its forward's first argument takes the tokens.
        context: Longest input, in bytes.

    Attributes:
        context: Longest input, in bytes.
        start: Nothing: the first byte of a text is not predicted.
        pad: 0.
        input_name: Name of the forward's first argument.

    Raises:
        ConfigError: If the forward has no argument.
    """

    start: Sequence[int] = ()
    pad = 0

    def __init__(self, model: nn.Module, context: int) -> None:
        names = list(inspect.signature(model.forward).parameters)
        if not names:
            raise ConfigError(f"the forward of {type(model).__name__} takes no argument, wanted tokens")
        self.context, self.input_name = context, names[0]

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Take the bytes.

        Args:
            text: Any text.
            special: Not used: there are no special tokens.

        Returns:
            The bytes of its UTF-8.
        """
        return list(text.encode())
