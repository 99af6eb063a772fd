"""Strict tables: an unknown key is an error that suggests what was probably meant; so is one there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from m2m.errors import ConfigError

_Item = TypeVar("_Item", bound=Hashable)


def check_keys(table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse keys that nobody reads, because a misspelt key would silently leave its default in place.

    Args:
        table: A table as read from a configuration file.
        allowed: The keys that mean something there.
        where: File and table for the message, as in `run.toml [train]`.

    Raises:
        ConfigError: If `table` has keys that are not allowed; names each, and the closest allowed one.
    """
    known = sorted(allowed)
    unknown = [str(key) for key in table if key not in known]
    if unknown:
        described = ", ".join(repr(key) + did_you_mean(key, known) for key in unknown)
        raise ConfigError(f"{where}: unknown key {described}; allowed are: {', '.join(known)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the word that was probably meant.

    Args:
        word: What was written.
        known: What could have been written.

    Returns:
        ` (did you mean 'steps'?)`, with the leading space, or an empty string if nothing is close.
    """
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def repeated(items: Iterable[_Item]) -> _Item | None:
    """Find what is there more than once.

    Args:
        items: Any items.

    Returns:
        The first of them in the order in which they were seen first; None if all differ.
    """
    return next((item for item, count in Counter(items).items() if count > 1), None)
