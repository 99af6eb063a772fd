"""The cell of a table that names a mixture's datasets."""

from __future__ import annotations

import json

from m2m.errors import InputError

#: Characters of a cell that a message quotes.
_QUOTED = 60


def members_of_cell(text: str, where: str) -> tuple[str, ...]:
    """Read dataset names from `a+b` or from a JSON list, as m2m's own tables have it.

    Args:
        text: The cell.
        where: File, row and column, for the message.

    Returns:
        The names as they stand there.

    Raises:
        InputError: If it is neither.
    """
    if not text.lstrip().startswith("["):
        return tuple(name.strip() for name in text.split("+"))
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):  # digits without end are a ValueError
        names = None
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        shown = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
        raise InputError(f"{where}: wanted names joined by +, or a JSON list of names, got {shown!r}")
    return tuple(names)
