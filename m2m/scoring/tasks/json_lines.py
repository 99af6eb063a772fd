"""Read the rows of a task's JSON Lines file, each with where it stands, for messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError, DataError
from m2m.support import doors


def read_text(path: Path) -> str:
    """Read a task's file.

    Args:
        path: A UTF-8 text file.

    Returns:
        Its content.

    Raises:
        ConfigError: If there is no such file.
        DataError: If it is not UTF-8.
    """  # noqa: DOC502 - raised by what is called
    if not path.exists():
        raise ConfigError(f"cannot read the task's file {path}: No such file or directory")
    return doors.read_text(path, "a task's text", DataError)


def json_lines(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read objects, one a line; empty lines do not count.

    Args:
        path: The file.

    Returns:
        The objects by where they stand (`FILE, line 3`), in order.

    Raises:
        DataError: If a line is not a JSON object, or there is none.
    """
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
    """Take the text of a row from the first of several keys that it has.

    Args:
        row: The row.
        keys: The keys that may hold it.
        where: Where the row stands.

    Returns:
        The text.

    Raises:
        DataError: If no key holds text.
    """
    for key in keys:
        if isinstance(row.get(key), str):
            text: str = row[key]
            return text
    raise DataError(f"{where}: wanted text under {' or '.join(map(repr, keys))}, got the keys {list(row)}")
