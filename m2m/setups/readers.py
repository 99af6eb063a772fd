"""Readers: how the documents come out of a file."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping

from m2m.support.doors import unique_names

#: A reader takes a file's text and the field it is asked for, and yields documents.
Reader = Callable[[str, str], Iterator[str]]

#: Shorter string literals are identifiers and messages, not documents.
SHORTEST_LITERAL = 200


def whole(text: str, field: str) -> Iterator[str]:
    """Read a file as one document.

    Args:
        text: The file's text.
        field: Not used.

    Yields:
        str: The text.
    """
    yield text


def json_lines(text: str, field: str) -> Iterator[str]:
    """Read one field of every line of a JSON Lines file.

    Args:
        text: The file's text; one JSON object a line.
        field: Key of the text in each object.

    Yields:
        str: The field's value.

    Raises:
        ValueError: If a line is not a JSON object with that field as a string; names the line.
    """
    # Only ends of lines end a line: texts hold U+2028 and the like.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            record = json.loads(line, object_pairs_hook=unique_names)
            value = record.get(field) if isinstance(record, dict) else None
            if not isinstance(value, str):
                raise ValueError(
                    f"line {number}: wanted an object with a string {field!r}, got {line[:80]!r}"
                )
            value.encode()  # an escape can stand for half a letter, which no tokenizer takes
            yield value


def literals(text: str, field: str) -> Iterator[str]:
    """Read the long string literals of Python source: packages ship texts that way.

    Args:
        text: Python source.
        field: Not used.

    Yields:
        str: Each literal of at least 200 characters.
    """
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and len(node.value) >= SHORTEST_LITERAL
        ):
            yield node.value


def translations(text: str, field: str) -> Iterator[str]:
    """Read the translated messages (`msgstr`) of a gettext `.po` file, without header and obsolete entries.

    Args:
        text: The file's text.
        field: Not used.

    Yields:
        str: Each translated message.
    """
    entry: dict[str, str] = {}
    keyword = ""
    for line in [*text.splitlines(), ""]:
        starts_entry = line.startswith(("msgid ", "msgctxt ")) and keyword.startswith("msgstr")
        if starts_entry or not line:
            yield from _translated(entry)
            entry, keyword = {}, ""
        if line.startswith("msg"):
            keyword, _, line = line.partition(" ")
        if keyword and line.startswith('"'):
            entry[keyword] = entry.get(keyword, "") + ast.literal_eval(line)


def _translated(entry: Mapping[str, str]) -> Iterator[str]:
    """Yield an entry's translations; the header is the entry whose msgid is empty."""
    if entry.get("msgid"):
        yield from (value for keyword, value in entry.items() if keyword.startswith("msgstr") and value)


#: Reader by the name it has in a configuration.
READERS: Mapping[str, Reader] = {
    "text": whole,
    "jsonl": json_lines,
    "po": translations,
    "literals": literals,
}
