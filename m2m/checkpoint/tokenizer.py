"""A model's tokenizer as its files tell it: tokens and their ids, configuration, chat template."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.errors import CheckpointError
from m2m.support.doors import read_json

#: Transformers writes 10^30 where a tokenizer has no longest text.
_LENGTH_BITS = 128


def read_configuration(file: Path) -> dict[str, Any]:
    """Read a `tokenizer_config.json`; CheckpointError if it is no JSON object."""
    found: dict[str, Any] = read_json(
        file, "a tokenizer's configuration", CheckpointError, {}, bits=_LENGTH_BITS
    )
    return found


def vocabulary(model: Checkpoint) -> dict[str, int]:
    """Read a model's tokens.

    Args:
        model: The model.

    Returns:
        Id by token, from `tokenizer.json` or `vocab.json`; empty where the model has neither, or one that
        cannot be read: it travels as it is.
    """
    files = model.side_files
    with suppress(CheckpointError):
        if file := files.get("tokenizer.json"):
            return ids_of(read_json(file, "a tokenizer", CheckpointError, {}))
        if file := files.get("vocab.json"):
            return _ids(read_json(file, "a vocabulary", CheckpointError, {}))
    return {}


def ids_of(content: Mapping[str, Any]) -> dict[str, int]:
    """Id by token, of what a `tokenizer.json` says."""
    found = _of_model(content.get("model"))
    added = content.get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, Mapping) and type(token.get("id")) is int:
            found[str(token.get("content"))] = token["id"]
    return found


def _of_model(model: Any) -> dict[str, int]:
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocab, Mapping):
        return _ids(vocab)
    if isinstance(vocab, list):  # unigram: pairs of piece and score, by id
        return {str(pair[0]): number for number, pair in enumerate(vocab) if isinstance(pair, list) and pair}
    return {}


def _ids(words: Mapping[str, Any]) -> dict[str, int]:
    return {word: number for word, number in words.items() if type(number) is int}


def chat_template(model: Checkpoint) -> str | None:
    """Read a model's chat template.

    Args:
        model: The model.

    Returns:
        Its Jinja text, the default's where it has several; None where it has none that can be read.
    """
    if file := model.side_files.get("chat_template.jinja"):
        return file.read_text(encoding="utf-8", errors="replace")
    found: Any = None
    if file := model.side_files.get("tokenizer_config.json"):
        with suppress(CheckpointError):  # it travels as it is
            found = read_configuration(file).get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, Mapping)}
        found = named.get("default")
    return found if isinstance(found, str) else None
