"""What experiments run: an example of the repository with some keys changed, such as its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError
from m2m.pipeline import config
from m2m.pipeline.config import RunConfig
from m2m.support.content_keys import Part
from m2m.support.doors import read_text, read_toml
from m2m.support.files import write_atomically
from m2m.support.toml_text import toml_text

#: The examples of the clone that this is imported from.
EXAMPLES = Path(__file__).parents[2] / "examples"
#: Keys by their dotted names, as in `train.steps`, with what they become; None: the key is left out.
Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Sized:
    """What an experiment runs at one size.

    Attributes:
        example: The configuration that it begins from.
        changes: What is different there.
        model: What is trained, in words for the page.
        data: On what, and what it is judged by.
        minutes: About how long it takes on an idle core.
        beside: Names of files beside the example that the configuration names.
    """

    example: Path
    changes: Changes
    model: str
    data: str
    minutes: float
    beside: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files beside the example that its configuration names."""
        return [self.example.with_name(name) for name in self.beside]

    @property
    def content(self) -> Part:
        """What those files hold: their places differ by clone, and decide nothing."""
        return [[path.name, read_text(path, "a file of an example", ConfigError)] for path in self.files]


def changed_text(example: Path, changes: Changes) -> str:
    """Return an example's configuration with keys changed, as TOML.

    Args:
        example: The configuration to begin from.
        changes: What is different.

    Returns:
        The text; paths in it start from wherever it is written, so only what is of a pinned package, or lies
        beside it there, is found.

    Raises:
        ConfigError: If the example is not there, which comes with a clone and not with the package, or a
            changed key leads through something that is no table.
    """
    if not example.is_file():
        raise ConfigError(
            f"{example} is not there: experiments run the examples of a clone of the repository"
        )
    tables: dict[str, Any] = read_toml(example, "a run configuration (TOML)", ConfigError)
    for name, value in changes.items():
        *path, last = name.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{example}: {part!r} of {name!r} is no table")
        if value is None:
            table.pop(last, None)
        else:
            table[last] = deepcopy(value)  # a later key may change what is inside
    return toml_text(tables)


def written(text: str, path: Path, files: Sequence[Path]) -> RunConfig:
    """Write a configuration where it differs from what is there, with files it names beside it; read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        write_atomically(path.with_name(file.name), file.read_bytes())
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
    return config.load(path)
