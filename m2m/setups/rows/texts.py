"""Readers of text files: from a file's text to its documents."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

from m2m.setups.rows.gettext import translations

#: A reader takes a file's text and yields documents, each with the line it begins on; None: it is the file.
Reader = Callable[[str], Iterator[tuple[int | None, str]]]

#: Shorter string literals are identifiers and messages, not documents.
SHORTEST_LITERAL = 200


def whole(text: str) -> Iterator[tuple[None, str]]:
    """Read a file as one document."""
    yield None, text


def literals(text: str) -> Iterator[tuple[int, str]]:
    """Read the string literals of Python source from 200 characters on: packages ship texts that way."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and len(node.value) >= SHORTEST_LITERAL
        ):
            yield node.lineno, node.value


#: Reader by the name it has in a configuration.
TEXTS: Mapping[str, Reader] = {"text": whole, "po": translations, "literals": literals}
