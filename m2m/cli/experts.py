"""Experts as users name them on the command line: `PATH`, or `NAME=PATH`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from m2m.errors import ConfigError
from m2m.support.names import check_names


def named_paths(words: Sequence[str]) -> dict[str, Path]:
    """Give every expert a name.

    Args:
        words: `NAME=PATH` or `PATH`, whose last part without suffix is then the name. [N]

    Returns:
        Path by name, in the order given.

    Raises:
        ConfigError: If two experts have one name, or a name cannot be used.
    """
    paths: dict[str, Path] = {}
    for word in words:
        named = "=" in word and not Path(word).exists()
        name, _, path = word.partition("=") if named else ("", "", word)
        if not path or (named and not name):
            raise ConfigError(f"--experts wants [NAME=]PATH, got {word!r}")
        name = name or Path(path).name.removesuffix(".safetensors")
        if name in paths:
            raise ConfigError(f"two experts are called {name!r}: {paths[name]} and {path}; say NAME=PATH")
        paths[name] = Path(path)
    check_names(paths, "--experts NAME=PATH: expert")
    return paths
