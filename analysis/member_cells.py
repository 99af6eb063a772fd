"""The cells of a table that name mixtures and their datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence

from m2m.errors import InputError
from m2m.support.schema import repeated_at

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


def check_once(where: str, target: str, labels: Sequence[str], rows: Sequence[int]) -> None:
    """Refuse a mixture that a target has twice, by its rows; rows are numbered from 0, and told from 1."""
    twice = repeated_at(labels)
    if twice is not None:
        first, second = (rows[place] + 1 for place in twice)
        raise InputError(
            f"{where}, rows {first} and {second}: target {target!r} has the mixture {labels[twice[0]]!r} "
            "twice; average the two, or take one out"
        )
