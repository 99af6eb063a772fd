"""TOML as m2m writes it: values, keys and whole files of tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any


def toml_value(value: object) -> str:
    """Write a string, number, truth or list of them; JSON writes these alike."""
    return json.dumps(value, ensure_ascii=False)


def toml_key(name: str) -> str:
    """Write a key, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def toml_lines(table: Mapping[str, Any]) -> str:
    """Write the keys of one table, a line each."""
    return "".join(f"{toml_key(key)} = {toml_value(value)}\n" for key, value in table.items())


def toml_text(tables: Mapping[str, Any]) -> str:
    """Write nested tables as a file that reads as the same again."""
    return "\n".join(_tables(tables, ()))


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and (plain or not table):
        yield f"[{'.'.join(map(toml_key, path))}]\n{toml_lines(plain)}"
    elif plain:
        yield toml_lines(plain)
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _tables(value, (*path, key))
