"""Formats: what a row's columns say. A document is text to learn as it is, or a question with its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from m2m.errors import ConfigError, DataError
from m2m.setups.rows.tables import Row
from m2m.support.schema import did_you_mean, shown

#: One turn of a conversation, as chat templates read it: `role`, `content`, and what else the data have.
Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Completion:
    """A text and how it goes on; only the latter is learnt.

    Attributes:
        prompt: What is given.
        completion: What is learnt.
        where: Where it was read, for messages.
        origin: What several documents may be made of, such as a message in many languages: all that are made
            of it fall on the same side of any split, and of one dataset the first one counts. Empty: itself.
    """

    prompt: str
    completion: str
    where: str = field(default="", compare=False)
    origin: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn."""
        return not self.completion.strip()


@dataclass(frozen=True)
class Chat:
    """A conversation; only what the assistant says is learnt.

    Attributes:
        turns: Its turns, in order.
        where: Where it was read, for messages.
        origin: As of a `Completion`.
    """

    turns: tuple[Turn, ...]
    where: str = field(default="", compare=False)
    origin: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn."""
        return not self.answers

    @property
    def answers(self) -> list[int]:
        """Numbers of the turns that are learnt: the assistant's, once somebody else has said something."""
        asked, found = False, []
        for number, turn in enumerate(self.turns):
            if turn["role"] != "assistant":
                asked |= turn["role"] != "system"
            elif asked and (turn.get("tool_calls") or (turn["content"] or "").strip()):
                found.append(number)
        return found


#: What is learnt as a whole.
Document = str | Completion | Chat


def is_empty(document: Document) -> bool:
    """Whether there is nothing to learn from a document."""
    return not document.strip() if isinstance(document, str) else document.is_empty


def as_chat(document: Completion | Chat) -> Chat:
    """Take a prompt and its completion as what a user asks and the assistant answers."""
    if isinstance(document, Chat):
        return document
    asked = {"role": "user", "content": document.prompt}
    answer = {"role": "assistant", "content": document.completion}
    return Chat((asked, answer), document.where, document.origin)


def as_record(document: Document) -> dict[str, Any]:
    """Say a document as trainers read it: `text`; `prompt` and `completion`; or `messages`."""
    if isinstance(document, str):
        return {"text": document}
    if isinstance(document, Completion):
        return {"prompt": document.prompt, "completion": document.completion}
    return {"messages": [dict(turn) for turn in document.turns]}


def content_of(document: Document) -> bytes:
    """What a document says, as bytes: equal for equal documents only. Half a letter is a `ValueError`."""
    if isinstance(document, str):
        return document.encode()
    if isinstance(document, Completion):
        return f"\0completion {len(document.prompt)}\n{document.prompt}{document.completion}".encode()
    return b"\0chat\n" + json.dumps(document.turns, sort_keys=True, ensure_ascii=False, default=str).encode()


def text(row: Row, columns: Mapping[str, str], where: str) -> str:
    """Read a text that is learnt as it is."""
    return _text(row, columns["text"], where)


def prompt_completion(row: Row, columns: Mapping[str, str], where: str) -> Completion | Chat:
    """Read `prompt` and `completion`: two texts, put together as they are, or two lists of messages."""
    first, second = columns["prompt"], columns["completion"]
    if isinstance(row.get(first), list | tuple) and isinstance(row.get(second), list | tuple):
        return _chat((*_turns(row, first, where), *_turns(row, second, where)), where)
    return Completion(_text(row, first, where), _text(row, second, where), where)


def messages(row: Row, columns: Mapping[str, str], where: str) -> Chat:
    """Read a list of messages with `role` and `content`."""
    return _chat(_turns(row, columns["messages"], where), where)


def alpaca(row: Row, columns: Mapping[str, str], where: str) -> Chat:
    """Read `instruction`, `input` (may be missing) and `output`: what a user says, and the answer."""
    said = [_text(row, columns["instruction"], where), _optional(row, columns["input"], where)]
    turns = [
        {"role": "system", "content": _optional(row, columns["system"], where)},
        {"role": "user", "content": "\n".join(filter(None, said))},
        {"role": "assistant", "content": _text(row, columns["output"], where)},
    ]
    return Chat(tuple(turn for turn in turns if turn["role"] != "system" or turn["content"]), where)


#: Who speaks in conversations, as chat templates call them.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython", "environment")
#: Who speaks in ShareGPT's words, in those of chat templates.
_SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "system": "system", "tool": "tool",
    "observation": "tool",
}  # fmt: skip


def sharegpt(row: Row, columns: Mapping[str, str], where: str) -> Chat:
    """Read `conversations`, a list of turns with `from` (human, gpt, system …) and `value`."""
    turns = []
    for turn in _list(row, columns["conversations"], where):
        speaker, value = _entry(turn, "from", where), turn.get("value")
        if speaker not in _SPEAKERS:
            raise DataError(f"{where}: nobody is called {speaker!r:.40} here; known are {list(_SPEAKERS)}")
        turns.append({"role": _SPEAKERS[speaker], "content": _words(value, where)})
    return Chat(tuple(turns), where)


@dataclass(frozen=True)
class Format:
    """What rows may look like.

    Attributes:
        columns: Columns that must be there; by them a format is recognised.
        optional: Columns that may be there.
        read: From a row, the user's names of the columns, and where it stands, to a document.
    """

    columns: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[Row, Mapping[str, str], str], Document]


#: Format by the name it has in a configuration.
FORMATS: Mapping[str, Format] = {
    "text": Format(("text",), (), text),
    "prompt_completion": Format(("prompt", "completion"), (), prompt_completion),
    "messages": Format(("messages",), (), messages),
    "alpaca": Format(("instruction", "output"), ("input", "system"), alpaca),
    "sharegpt": Format(("conversations",), (), sharegpt),
}
_NAMES = tuple(dict.fromkeys(name for f in FORMATS.values() for name in (*f.columns, *f.optional)))


@dataclass(frozen=True)
class Layout:
    """A format, and what its columns are called.

    Attributes:
        name: The format.
        columns: The user's name of each of its columns.
    """

    name: str
    columns: Mapping[str, str]

    def read(self, row: Row, where: str) -> Document:
        """Read one row.

        Args:
            row: Its columns by name.
            where: Where it stands.

        Returns:
            What it says.

        Raises:
            DataError: If a column is missing, or holds something else.
        """
        document = FORMATS[self.name].read(row, self.columns, where)
        try:
            content_of(document)
        except ValueError:
            raise DataError(f"{where}: holds text that UTF-8 cannot hold") from None
        return document


def check_layout(name: str, renamed: Mapping[str, str], where: str) -> None:
    """Refuse an unknown format, and columns that it does not have."""
    if name and name not in FORMATS:
        raise ConfigError(
            f"{where}: `format` must be one of {list(FORMATS)}, got {name!r}{did_you_mean(name, FORMATS)}"
        )
    known = (*FORMATS[name].columns, *FORMATS[name].optional) if name else _NAMES
    for column in renamed:
        if column not in known:
            raise ConfigError(
                f"{where}: `columns` names {column!r}, which {f'the format {name}' if name else 'no format'} "
                f"has{did_you_mean(column, known)}; wanted some of {list(known)}"
            )


def layout_of(name: str, renamed: Mapping[str, str], row: Row, where: str) -> Layout:
    """Say how rows are to be read: by the format that is named, or by the one whose columns a row has.

    Args:
        name: The format; empty: the columns say.
        renamed: What columns of the format are called in the file, where that is another name.
        row: The first row.
        where: Where it stands.

    Returns:
        How to read it and those after it.

    Raises:
        DataError: If no format has these columns, or more than one.
    """
    if name:
        return Layout(name, _columns(name, renamed))
    fitting = [
        known
        for known, wanted in FORMATS.items()
        if all(renamed.get(column, column) in row for column in wanted.columns)
    ]
    # What is renamed says which format is meant.
    fitting = [known for known in fitting if set(renamed) <= set(_columns(known, {}))]
    if len(fitting) > 1:
        raise DataError(
            f"{where}: the columns {list(row)} are those of {' and '.join(fitting)}: say which, as in "
            f'`format = "{fitting[-1]}"`'
        )
    if not fitting:
        wanted = "; ".join(f"{known}: {', '.join(f.columns)}" for known, f in FORMATS.items())
        raise DataError(
            f"{where}: the columns {list(row)} are those of no format ({wanted}); say what yours are called, "
            'as in `columns = { prompt = "question", completion = "answer" }`'
        )
    (found,) = fitting
    if found == "sharegpt" and _has_roles(row.get(renamed.get("conversations", "conversations"))):
        return Layout("messages", {"messages": renamed.get("conversations", "conversations")})
    return Layout(found, _columns(found, renamed))


def _columns(name: str, renamed: Mapping[str, str]) -> dict[str, str]:
    wanted = FORMATS[name]
    return {column: renamed.get(column, column) for column in (*wanted.columns, *wanted.optional)}


def _has_roles(turns: Any) -> bool:
    # `conversations` are written with `from` and `value`, and with `role` and `content`.
    first = turns[0] if isinstance(turns, list | tuple) and turns else None
    return isinstance(first, Mapping) and "role" in first


def _chat(turns: tuple[Turn, ...], where: str) -> Chat:
    # Templates may have roles of their own; but of a misspelt assistant nothing would be learnt, unsaid.
    roles = dict.fromkeys(turn["role"] for turn in turns)
    for role in roles:
        meant = did_you_mean(role.strip().lower(), _ROLES)
        if role not in _ROLES and (meant or "assistant" not in roles):
            raise DataError(f"{where}: unknown role {role!r:.40}{meant}; known are {list(_ROLES)}")
    return Chat(turns, where)


def _turns(row: Row, column: str, where: str) -> tuple[Turn, ...]:
    turns = []
    for turn in _list(row, column, where):
        role, content = _entry(turn, "role", where), _words(turn.get("content"), where)
        kept = {key: value for key, value in turn.items() if value is not None}  # Arrow fills up with nulls
        turns.append({**kept, "role": role, "content": content})
    return tuple(turns)


def _list(row: Row, column: str, where: str) -> Iterable[Any]:
    value = _column(row, column, where)
    if not isinstance(value, list | tuple | NoneType):
        raise DataError(f"{where}: {column!r} is {shown(value)}, wanted a list of turns")
    return value or ()


def _entry(turn: Any, key: str, where: str) -> str:
    if not isinstance(turn, Mapping) or not isinstance(turn.get(key), str):
        raise DataError(f"{where}: wanted turns with a text {key!r}, got {shown(turn)}")
    found: str = turn[key]
    return found


def _words(content: Any, where: str) -> str:
    # Parts of a message are put together, as chat templates do; pictures and sound are refused.
    if isinstance(content, str | NoneType):
        return content or ""
    if isinstance(content, list | tuple) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise DataError(f"{where}: a message holds {shown(content)}, wanted text")


def _text(row: Row, column: str, where: str) -> str:
    value = _column(row, column, where)
    if not isinstance(value, str | NoneType):
        raise DataError(f"{where}: {column!r} is {shown(value)}, wanted text")
    return value or ""


def _optional(row: Row, column: str, where: str) -> str:
    return _text(row, column, where) if column in row else ""


def _column(row: Row, column: str, where: str) -> Any:
    if column not in row:
        raise DataError(f"{where}: there is no column {column!r}{did_you_mean(column, row)}; got {list(row)}")
    return row[column]
