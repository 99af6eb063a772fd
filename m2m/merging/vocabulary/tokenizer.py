"""Tokenizers as data: read, cut to the rows that a model has, joined, and written again.

What is worked on is `tokenizer.json`, which the `tokenizers` library reads. A tokenizer that is stored
otherwise (sentencepiece, `vocab.json` with `merges.txt`, `vocab.txt`) is turned into one by transformers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m2m.checkpoint.tokenizer import ids_of, read_configuration
from m2m.errors import CheckpointError
from m2m.support.doors import read_json
from m2m.support.extras import installing

FILE, CONFIGURATION = "tokenizer.json", "tokenizer_config.json"
_ADDED = "added_tokens.json"
#: How the names of files begin that are a tokenizer, or only mean something beside it.
_BEGINNINGS = (
    "tokenizer", "special_tokens_map", "added_tokens", "vocab.", "merges.txt", "spiece.", "sentencepiece",
    "chat_template", "additional_chat_templates/",
)  # fmt: skip
#: Files that hold what `tokenizer.json` holds: wrong once it has changed.
_STORED_OTHERWISE = (
    "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    _ADDED,
)  # fmt: skip
_KINDS = ("BPE", "WordPiece", "WordLevel", "Unigram")
#: Settings of a token that is cut out of any text.
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer.

    Attributes:
        path: The model whose it is.
        files: Its files, by name.
        content: What `tokenizer.json` says.
        changed: Whether that is not what the files say.
    """

    path: Path
    files: Mapping[str, Path]
    content: Mapping[str, Any]
    changed: bool = False

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Id by token."""
        return ids_of(self.content)

    @cached_property
    def tokens(self) -> dict[int, str]:
        """Token by id."""
        return {number: token for token, number in self.ids.items()}

    @cached_property
    def added(self) -> dict[str, Mapping[str, Any]]:
        """Tokens that were added to its model, by text, with their settings; by id."""
        listed = sorted(self.content.get("added_tokens") or [], key=lambda token: token["id"])
        return {token["content"]: token for token in listed}

    @property
    def rows(self) -> int:
        """Rows that an embedding needs for it."""
        return max(self.ids.values(), default=-1) + 1

    def cut(self, rows: int) -> Tokenizer:
        """Leave out the tokens that a model with so many rows has none for."""
        beyond = {token for token, number in self.ids.items() if number >= rows}
        if not beyond:
            return self
        content = copy.deepcopy(dict(self.content))
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < rows]
        content["model"] = _without(content["model"], beyond, rows)
        return Tokenizer(self.path, self.files, content, changed=True)

    def extended(self, added: Iterable[Mapping[str, Any]]) -> Tokenizer:
        """Add tokens, with their settings, where they have none yet."""
        listed, number, ids = dict(self.added), self.rows, self.ids
        for token in added:
            text = token["content"]
            if text not in listed:
                own = ids.get(text, number)
                number += own == number
                listed[text] = {**token, "id": own}
        if len(listed) == len(self.added):
            return self
        tokens = sorted(listed.values(), key=lambda token: token["id"])
        return Tokenizer(self.path, self.files, {**self.content, "added_tokens": tokens}, changed=True)

    def write(self, folder: Path) -> None:
        """Bring the files in a folder, which are copies of its own, up to what it says now."""
        if not self.changed:
            return
        text = json.dumps(self.content, ensure_ascii=False, indent=2)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")
        for name in _STORED_OTHERWISE:
            (folder / name).unlink(missing_ok=True)
        configuration = folder / CONFIGURATION
        if configuration.exists():
            said = read_configuration(configuration)
            if said.pop("added_tokens_decoder", None) is not None:  # tokenizer.json has them
                configuration.write_text(
                    json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
                )


def plain_token(text: str) -> dict[str, Any]:
    """A token to add that is nothing special."""
    return {**_PLAIN, "content": text}


def tokenizer_files(files: Mapping[str, Path]) -> dict[str, Path]:
    """Those of a model's side files that belong to its tokenizer."""
    return {name: file for name, file in files.items() if name.startswith(_BEGINNINGS)}


def read_tokenizer(
    path: Path, side_files: Mapping[str, Path], known: Tokenizer | None = None
) -> Tokenizer | None:
    """Read a model's tokenizer; None where it has none."""
    # One that is stored as a `known` one is shares its content, which is large. CheckpointError if it cannot
    # be read, or cannot be turned into what `tokenizer.json` holds.
    files = tokenizer_files(side_files)
    if known is not None and _same_files(files, known.files):
        return Tokenizer(path, files, known.content, known.changed)
    if file := files.get(FILE):
        content, changed = read_json(file, "a tokenizer", CheckpointError, {}), False
    elif files.keys() & set(_STORED_OTHERWISE) or any(name.endswith(".tiktoken") for name in side_files):
        content, changed = _converted(path), True
    else:
        return None
    _check(content, files.get(FILE, path))
    content, more = _with_added(content, files)
    return Tokenizer(path, files, content, changed=changed or more)


def _same_files(files: Mapping[str, Path], others: Mapping[str, Path]) -> bool:
    names = {FILE, CONFIGURATION, _ADDED}
    return (
        FILE in files
        and names & files.keys() == names & others.keys()
        and all(files[name].read_bytes() == others[name].read_bytes() for name in names & files.keys())
    )


def _check(content: Any, where: Path) -> None:
    model = content.get("model")
    kind = model.get("type", "BPE") if isinstance(model, Mapping) else None
    added = content.get("added_tokens") or []
    whole = kind in _KINDS and isinstance(added, list) and all(_is_added(token) for token in added)
    if not whole or not ids_of(content):
        raise CheckpointError(
            f"{where}: is no tokenizer whose tokens can be told: wanted a model of type {', '.join(_KINDS)} "
            f"with a vocab, and added_tokens with content and id; got the type {kind!r}"
        )


def _is_added(token: object) -> bool:
    return (
        isinstance(token, Mapping) and isinstance(token.get("content"), str) and type(token.get("id")) is int
    )


def _with_added(content: dict[str, Any], files: Mapping[str, Path]) -> tuple[dict[str, Any], bool]:
    # Tokens that stand in the files beside it only, as older versions of transformers wrote them.
    known = ids_of(content)
    taken = set(known.values())
    listed = list(content.get("added_tokens") or [])
    for token in _beside(files):
        if token["content"] not in known and token["id"] not in taken:
            listed.append(token)
            taken.add(token["id"])
            known = {**known, token["content"]: token["id"]}
    listed.sort(key=lambda token: token["id"])
    return {**content, "added_tokens": listed}, len(listed) > len(content.get("added_tokens") or [])


def _beside(files: Mapping[str, Path]) -> Iterable[dict[str, Any]]:
    if file := files.get(CONFIGURATION):
        said = read_configuration(file).get("added_tokens_decoder")
        for number, token in said.items() if isinstance(said, Mapping) else ():
            if number.isdecimal() and isinstance(token, Mapping) and isinstance(token.get("content"), str):
                settings = {key: token.get(key, value) for key, value in _PLAIN.items()}
                yield {**settings, "id": int(number), "content": token["content"]}
    if file := files.get(_ADDED):
        for token, number in read_json(file, "a table of added tokens", CheckpointError, {}).items():
            if type(number) is int:
                yield {**_PLAIN, "id": number, "content": token}


def _converted(path: Path) -> dict[str, Any]:
    try:
        from m2m.checkpoint.hugging_face import load_tokenizer
    except ImportError as error:
        raise CheckpointError(
            f"{path}: its tokenizer is not stored as {FILE}; to turn it into that, torch and transformers "
            f"are needed ({installing('huggingface')})"
        ) from error
    fast = getattr(load_tokenizer(path, trust=False), "backend_tokenizer", None)
    if fast is None:
        raise CheckpointError(
            f"{path}: its tokenizer is computed by Python code and has no {FILE}, so its tokens cannot be "
            "moved; leave tokenizer and tokenizer_source out"
        )
    content: dict[str, Any] = json.loads(fast.to_str())
    return content


def _without(model: Mapping[str, Any], beyond: Collection[str], rows: int) -> dict[str, Any]:
    vocab = model["vocab"]
    if isinstance(vocab, list):
        return {**model, "vocab": vocab[:rows]}
    kept = {**model, "vocab": {token: number for token, number in vocab.items() if token not in beyond}}
    if "merges" in model:
        kept["merges"] = [merge for merge in model["merges"] if not _mentions(merge, beyond)]
    return kept


def _mentions(merge: str | list[str], tokens: Collection[str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in tokens or right in tokens or left + right in tokens
