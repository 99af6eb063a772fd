"""Readers of text files: from a file's text to its documents."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

#: A reader takes a file's text and yields documents.
Reader = Callable[[str], Iterator[str]]

#: Shorter string literals are identifiers and messages, not documents.
SHORTEST_LITERAL = 200


def whole(text: str) -> Iterator[str]:
    """Read a file as one document."""
    yield text


def literals(text: str) -> Iterator[str]:
    """Read the string literals of Python source from 200 characters on: packages ship texts that way."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and len(node.value) >= SHORTEST_LITERAL
        ):
            yield node.value


def translations(text: str) -> Iterator[str]:
    """Read a gettext `.po` file's translated messages (`msgstr`), without header and obsolete entries."""
    entry: dict[str, str] = {}
    keyword = ""
    for line in [*text.split("\n"), ""]:  # only ends of lines end a line: messages hold U+2028 and the like
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
TEXTS: Mapping[str, Reader] = {"text": whole, "po": translations, "literals": literals}
