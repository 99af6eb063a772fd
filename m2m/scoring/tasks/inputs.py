"""What tasks read: the rows of a JSON Lines file, and text as the tokens of the model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError, DataError
from m2m.setups.rows.answers import Answered, in_bytes, question_in_bytes
from m2m.setups.rows.formats import Completion
from m2m.support import doors

#: Heads of models that predict text.
PREDICT_TEXT = (Head.CAUSAL, Head.ENCODER_DECODER)
#: What judges a model, by its head; functions of the user's own judge any.
_JUDGED_BY = {
    Head.CAUSAL: "lm, choice, exact_match, generate or lm_eval",
    Head.ENCODER_DECODER: "lm, choice, exact_match, generate or lm_eval",
    Head.SPEECH: "lm on tensors (a safetensors file)",
    Head.TEXT_CLASSES: "classify",
    Head.TOKEN_CLASSES: "classify",
    Head.IMAGE_CLASSES: "classify",
    Head.IMAGE_TEXTS: "classify",
    Head.BARE: "sts",
}


def read_text(path: Path) -> str:
    """Read a task's UTF-8 file."""
    if not path.exists():
        raise ConfigError(f"cannot read the task's file {path}: No such file or directory")
    return doors.read_text(path, "a task's text", DataError)


def json_lines(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read objects, one a line and at least one, by where they stand (`FILE, line 3`); skip empty lines."""
    rows: dict[str, Mapping[str, Any]] = {}
    # Only ends of lines end a line: texts hold U+2028 and the like.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        with doors.reading("JSON", where, DataError):
            row = json.loads(line, object_pairs_hook=doors.unique_names)
        doors.check_data(row, where, "JSON of a task", DataError)
        if not isinstance(row, dict):
            raise DataError(f"{where}: wanted a JSON object, got {line!r:.80}")
        rows[where] = row
    if not rows:
        raise DataError(f"{path} has no examples: wanted a JSON object a line")
    return rows


def text_of(row: Mapping[str, Any], keys: tuple[str, ...], where: str) -> str:
    """Take a row's text from the first of `keys` that holds one."""
    for key in keys:
        if isinstance(row.get(key), str):
            text: str = row[key]
            return text
    raise DataError(f"{where}: wanted text under {' or '.join(map(repr, keys))}, got the keys {list(row)}")


def require_head(task: str, tokens: Tokens, *heads: Head) -> None:
    """Refuse a task that the model's head gives no answers to.

    Args:
        task: Name of the task.
        tokens: The model's tokens.
        heads: Heads that the task judges.

    Raises:
        ConfigError: If the model has another one.
    """
    if tokens.head not in heads:
        other = _JUDGED_BY.get(tokens.head)
        fitting = f"{other}, or a function of yours" if other else "a function of yours (FILE.py:FUNCTION)"
        raise ConfigError(
            f"the task {task} needs {' or '.join(heads)}, and the base model is {tokens.head}: it can be "
            f"judged by {fitting}"
        )


class Tokens(Protocol):
    """What a task needs to know of a language model, besides its weights."""

    @property
    def head(self) -> Head:
        """What the model makes of what it reads."""

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

    @property
    def learnt_name(self) -> str:
        """Name of the forward's argument for where logits are wanted, bool [B, T]; empty: it gives all."""

    @property
    def classes(self) -> Mapping[str, int]:
        """The number of each class, by name; empty where the model has no names of classes."""

    @property
    def ends(self) -> Sequence[int]:
        """Tokens with which the model says that its text is over; none if it has no such word."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Turn text into token numbers, with the model's special tokens around it or without."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn token numbers into text, without special tokens."""

    def question(self, text: str) -> str:
        """Write what a user asks as the model's chat template does, up to where the answer begins."""

    def surrounded(self, tokens: Sequence[int]) -> list[int]:
        """Put the special tokens around a text's token numbers that `encode` puts around a text."""

    def written(self, text: str) -> list[int]:
        """Turn a text that a decoder is to write into token numbers, with special tokens around it."""

    def answered(self, document: Completion) -> Answered:
        """Turn a prompt with its completion into the token numbers of one text; the completion is learnt."""


class ByteTokens:
    """Bytes as tokens, for a module of the user's own that has no tokenizer.

    Args:
        model: Its forward's first argument takes the tokens.
        context: Longest input, in bytes.

    Attributes:
        context: Longest input, in bytes.
        start: Nothing: the first byte of a text is not predicted.
        ends: Nothing: bytes have no word for the end of a text.
        pad: 0.
        input_name: Name of the forward's first argument.
        learnt_name: Empty: the forward gives all logits.
        head: A causal language model's.
        classes: None that have names.

    Raises:
        ConfigError: If the forward has no argument.
    """

    head = Head.CAUSAL
    classes: Mapping[str, int] = {}
    start: Sequence[int] = ()
    ends: Sequence[int] = ()
    pad = 0
    learnt_name = ""

    def __init__(self, model: nn.Module, context: int) -> None:
        names = list(inspect.signature(model.forward).parameters)
        if not names:
            raise ConfigError(f"the forward of {type(model).__name__} takes no argument, wanted tokens")
        self.context, self.input_name = context, names[0]

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Take the bytes of a text's UTF-8; there are no special tokens."""
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        """Read bytes as UTF-8; what is none becomes U+FFFD."""
        return bytes(tokens).decode(errors="replace")

    def question(self, text: str) -> str:
        """Write what a user asks as the data of a model of bytes have it, up to where the answer begins."""
        return question_in_bytes(text)

    def surrounded(self, tokens: Sequence[int]) -> list[int]:
        """Return the bytes: there are no special tokens."""
        return list(tokens)

    def written(self, text: str) -> list[int]:
        """Take the bytes of a text's UTF-8."""
        return self.encode(text)

    def answered(self, document: Completion) -> Answered:
        """Take the bytes of both texts, and a newline that ends them."""
        return in_bytes(document, "all")
