"""Tables of options, declared once: a dataclass says what a table may hold, defaults, types and help.

To add a key to a table of a configuration, add a field to its dataclass, with a type, a default and a line
under `Attributes:` in the docstring. That is all: the reader takes it (`read_options`, or the dataclass's
own reader with `key_names`), and `make docs` writes it into docs/configuration.md and the JSON schema. A
new table is a line in `m2m/pipeline/config_tables.py`.

A field with `metadata=NO_KEY` is none of the table's keys. `Annotated[kind, Also(other)]` is a key whose
values may be written in another way too, which its reader turns into the kind.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from m2m.errors import ConfigError
from m2m.support.checked import AtLeast, check_value
from m2m.support.schema import check_keys

Options = TypeVar("Options")

#: Metadata of a dataclass's field that no table sets.
NO_KEY: Mapping[str, Any] = MappingProxyType({"no key": True})


@dataclass(frozen=True)
class Also:
    """Another kind of values that a table may hold; the reader turns them into the annotated kind."""

    kind: Any


#: Texts, one or a list of them.
OneOrMore = Annotated[tuple[str, ...], Also(str)]


@dataclass(frozen=True)
class Key:
    """One key of a table.

    Attributes:
        name: What users type.
        kind: Annotation of the values it takes.
        default: Value where it is missing; `MISSING` if it must be there.
        meaning: What it does, from the dataclass's docstring.
    """

    name: str
    kind: Any
    default: Any
    meaning: str

    @property
    def required(self) -> bool:
        """Whether the table must have it."""
        return self.default is MISSING


def keys_of(*options: type) -> dict[str, Key]:
    """Return the keys that dataclasses declare together, by name, in their order."""
    keys = {}
    for kind in options:
        kinds, meanings = get_type_hints(kind, include_extras=True), _meanings(kind)
        for field in dataclasses.fields(kind):
            if field.metadata != NO_KEY:
                default = field.default if field.default_factory is MISSING else field.default_factory()
                keys[field.name] = Key(field.name, kinds[field.name], default, meanings.get(field.name, ""))
    return keys


def key_names(*options: type) -> list[str]:
    """Return the names of the keys that dataclasses declare together."""
    return [field.name for kind in options for field in dataclasses.fields(kind) if field.metadata != NO_KEY]


def read_options(options: type[Options], table: Mapping[str, Any], where: str, *more: type) -> Options:
    """Read a table into its dataclass, held against the declared types.

    Args:
        options: The dataclass.
        table: The table; what is missing gets its default.
        where: Its name in messages.
        more: Dataclasses that read other keys of the same table.

    Returns:
        The options; lists are tuples.

    Raises:
        ConfigError: If a key is unknown, missing or holds what it may not.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} must be a table, got {table!r:.60}")
    check_keys(table, key_names(options, *more), where)
    values = {}
    for name, key in keys_of(options).items():
        if name in table:
            values[name] = _value(table[name], key, where)
        elif key.required:
            raise ConfigError(f"{where}: `{name}` is missing: {_first_clause(key.meaning)}")
    return options(**values)


def _value(value: Any, key: Key, where: str) -> Any:
    check_value(f"{where}: `{key.name}`", value, key.kind)
    return tuple(value) if isinstance(value, list) else value


def _first_clause(meaning: str) -> str:
    return meaning[:1].lower() + re.split(r"[.;](?:\s|$)", meaning[1:], maxsplit=1)[0]


def _meanings(options: type) -> dict[str, str]:
    """Read the `Attributes:` of a dataclass's docstring, of those it inherits from too."""
    found: dict[str, str] = {}
    for kind in reversed(options.__mro__[:-1]):
        _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
        for entry in re.split(r"\n(?=    \S)", section.partition("\n\n")[0]):
            name, _, meaning = entry.strip().partition(":")
            found[name] = " ".join(meaning.split())
    return found


def type_in_words(kind: Any) -> str:
    """Say what values an annotation allows, as people write them in a configuration."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated_in_words(parts)
    if origin in (Union, UnionType):
        return " or ".join(type_in_words(part) for part in parts if part is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{_toml(part)}`" for part in parts)
    if origin is tuple and Ellipsis not in parts:
        return f"[{', '.join(map(type_in_words, parts))}]"
    if origin is not None and issubclass(origin, Mapping):
        if parts[1] is Any:
            return "table"
        return f"{_SEVERAL.get(type_in_words(parts[1]), type_in_words(parts[1]))} by name"
    if origin is not None and issubclass(origin, Collection):
        one = type_in_words(parts[0])
        return f"list of {'tables' if one.endswith('by name') else one}"
    if dataclasses.is_dataclass(kind):
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", dict: "table"}
    return names.get(kind, "any")


def _annotated_in_words(parts: tuple[Any, ...]) -> str:
    inner, *marks = parts
    for mark in marks:
        if isinstance(mark, AtLeast):
            return f"whole number ≥ {mark.least}"
        if isinstance(mark, Also):
            return f"{type_in_words(mark.kind)} or {type_in_words(inner)}"
    return type_in_words(inner)


def default_in_words(key: Key) -> str:
    """Say what a key is where it is missing."""
    if key.required:
        return "required"
    if key.default is None or (isinstance(key.default, Collection) and not key.default):
        return ""
    return f"`{_toml(key.default)}`"


#: More than one of what a table holds by name.
_SEVERAL = {"table": "tables", "text": "texts", "number": "numbers", "list of text": "lists of text"}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(part)}' for name, part in value.items())} }}"
    if isinstance(value, Collection):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) and value else str(value)


def json_schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the values that an annotation allows."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated_schema(parts)
    if origin in (Union, UnionType):
        schemas = [json_schema_of(part) for part in parts if part is not NoneType]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is tuple and Ellipsis not in parts:
        size = len(parts)
        return {"type": "array", "items": json_schema_of(parts[0]), "minItems": size, "maxItems": size}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": json_schema_of(parts[1])}
    if origin is not None and issubclass(origin, Collection):
        return {"type": "array", "items": json_schema_of(parts[0])}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return table_schema(kind)
    names = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}
    return {"type": names[kind]} if kind in names else {}


def _annotated_schema(parts: tuple[Any, ...]) -> dict[str, Any]:
    inner, *marks = parts
    schema = json_schema_of(inner)
    for mark in marks:
        if isinstance(mark, AtLeast):
            schema["minimum"] = mark.least
        if isinstance(mark, Also):
            schema = {"anyOf": [json_schema_of(mark.kind), schema]}
    return schema


def table_schema(*options: type) -> dict[str, Any]:
    """Return the JSON schema of a table whose keys dataclasses declare together; other keys are refused."""
    keys = keys_of(*options)
    properties = {}
    for name, key in keys.items():
        properties[name] = {**json_schema_of(key.kind), "description": key.meaning}
        if not key.required and key.default is not None:
            properties[name]["default"] = key.default
    required = [name for name, key in keys.items() if key.required]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
