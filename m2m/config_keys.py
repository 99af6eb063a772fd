"""Strict tables: an unknown key is an error that suggests the key that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from m2m.errors import ConfigError


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
