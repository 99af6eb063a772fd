"""Words of the command line that hold several things: `NAME=PATH`, `NAME=NUMBER`, `TASK>=BOUND`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.errors import ConfigError
from m2m.support.names import check_names, short_names

if TYPE_CHECKING:
    from m2m.searching import Limit


def named_paths(words: Sequence[str]) -> dict[str, Path]:
    """Read experts, `NAME=PATH`, or `PATH`, which is then named by itself (`short_names`): [N] by name."""
    given = [word.partition("=") if "=" in word and not Path(word).exists() else None for word in words]
    unnamed = [word for word, parts in zip(words, given, strict=True) if parts is None]
    short = iter(short_names(unnamed))
    paths: dict[str, Path] = {}
    for word, parts in zip(words, given, strict=True):
        name, _, path = parts or (next(short).removesuffix(".safetensors"), "", word)
        if not path or not name:
            raise ConfigError(f"--experts wants [NAME=]PATH, got {word!r}")
        if name in paths:
            raise ConfigError(f"two experts are called {name!r}: {paths[name]} and {path}; say NAME=PATH")
        paths[name] = Path(path)
    check_names(paths, "--experts NAME=PATH: expert")
    return paths


def pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """Read words of the form `NAME=VALUE`."""
    parts = [word.partition("=") for word in words]
    for word, (name, _, value) in zip(words, parts, strict=True):
        if not name or not value:
            raise ConfigError(f"{option} wants NAME=VALUE, got {word!r}")
    names = [name for name, _, _ in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{option} says {twice[0]!r} more than once")
    return {name: value for name, _, value in parts}


def shares(words: Sequence[str], option: str) -> dict[str, float]:
    """Read `NAME=NUMBER` words."""
    numbers: dict[str, float] = {}
    for word in words:
        name, separator, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            separator = ""
        if not separator or not name or name in numbers:
            raise ConfigError(f"{option}: wanted NAME=NUMBER, each name once, got {word!r}")
        numbers[name] = value
    return numbers


def limit(text: str) -> Limit:
    """Read a limit on a task's score."""
    from m2m.searching import Limit

    found = re.fullmatch(r"(.+?)(>=|<=)([-+.\deE]+)", text)
    if found is None:
        raise ConfigError(f"--keep: wanted TASK>=BOUND or TASK<=BOUND (in quotes), got {text!r}")
    try:
        return Limit(found[1], float(found[3]), found[2] == ">=")
    except ValueError:
        raise ConfigError(f"--keep: {found[3]!r} in {text!r} is no number") from None
