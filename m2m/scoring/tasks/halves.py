"""Items of a task that has one set of them, split into validation and test by the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from m2m.errors import DataError


def place(content: str) -> float:
    """Hash a content to [0, 1): equal contents lie at the same place, in whatever file or order."""
    return int.from_bytes(hashlib.sha256(content.encode(errors="surrogatepass")).digest()[:6]) / 2**48


def halves(contents: Sequence[str]) -> dict[str, list[int]]:
    """Split items by their content: those in the lower half are validation, the others test.

    Args:
        contents: The items, as text. [E]

    Returns:
        Item numbers of each split, ascending; items of equal content are in the same one.
    """
    places = [place(content) for content in contents]
    lower: list[int] = [at for at, where in enumerate(places) if where < 0.5]
    upper: list[int] = [at for at, where in enumerate(places) if where >= 0.5]
    return {"validation": lower, "test": upper}


def some(numbers: Sequence[int], contents: Sequence[str], count: int | None, what: str) -> list[int]:
    """Take `count` of some items, those whose places come first; None takes all.

    Args:
        numbers: Numbers of the items to take from.
        contents: All items, as text. [E]
        count: How many are wanted.
        what: The items' name in messages.

    Returns:
        Item numbers, ascending.

    Raises:
        DataError: If there are fewer, or none.
    """
    if not numbers or (count is not None and count > len(numbers)):
        raise DataError(f"{what}: there are {len(numbers)} items, wanted {count or 'at least 1'}")
    if count is None:
        return sorted(numbers)
    return sorted(sorted(numbers, key=lambda at: (place(contents[at]), at))[:count])
