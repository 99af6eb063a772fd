"""What `config.json` and `generation_config.json` say of tokens, once the vocabulary is another one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from m2m.errors import CheckpointError
from m2m.merging.vocabulary.tokenizer import Tokenizer
from m2m.merging.vocabulary.vocabulary import OutputVocabulary
from m2m.support.doors import read_json

_FILES = ("config.json", "generation_config.json")
_SIZES = ("vocab_size", "padded_vocab_size")
#: Keys whose values are ids of tokens, besides those that end in `_token_id` or `_token_index`.
_IDS = frozenset({"suppress_tokens", "begin_suppress_tokens"})
_ENDS = ("_token_id", "_token_ids", "_token_index")


def follow_vocabulary(folder: Path, vocabulary: OutputVocabulary) -> None:
    """Bring the copied configurations of a finished folder up to the output's vocabulary.

    Ids of special tokens follow their tokens where the tokenizer is another model's than the configuration:
    they are that model's own where it states them, and null where the output has no such token.
    """
    donor, out = vocabulary.tokenizers[vocabulary.donor], vocabulary.tokenizer
    for name in _FILES:
        file = folder / name
        if not file.exists():
            continue
        content = _read(file)
        changed = (
            _with_ids(content, _read(out.path / name), donor, out) if out.path != donor.path else content
        )
        if name == _FILES[0]:
            changed = _with_size(changed, vocabulary.donor_rows, vocabulary.rows, top=True)
        if changed != content:
            file.write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = (
        read_json(file, "a model's configuration", CheckpointError, {}) if file.exists() else {}
    )
    return found


def _with_size(content: Mapping[str, Any], old: int, rows: int, *, top: bool) -> dict[str, Any]:
    # A part of a model may have a vocabulary of its own, as of audio codes.
    return {
        key: rows
        if key in _SIZES and (top or value == old)
        else _with_size(value, old, rows, top=False)
        if isinstance(value, dict)
        else value
        for key, value in content.items()
    }


def _with_ids(
    content: Mapping[str, Any], theirs: Mapping[str, Any], donor: Tokenizer, out: Tokenizer
) -> dict[str, Any]:
    def moved(number: Any) -> Any:
        if type(number) is not int or number < 0:
            return number
        return out.ids.get(donor.tokens.get(number, ""))

    return _changed(content, theirs, moved)


def _changed(
    content: Mapping[str, Any], theirs: Mapping[str, Any], moved: Callable[[Any], Any]
) -> dict[str, Any]:
    found = dict(content)
    for key, value in content.items():
        other = theirs.get(key)
        if key.endswith(_ENDS) or key in _IDS:
            if other is not None:
                found[key] = other
            elif isinstance(value, list):
                found[key] = [number for number in map(moved, value) if number is not None]
            else:
                found[key] = moved(value)
        elif isinstance(value, dict):
            found[key] = _changed(value, other if isinstance(other, dict) else {}, moved)
    return found
