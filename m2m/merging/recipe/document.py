"""The YAML of a merge recipe: scalars as YAML 1.2 reads them, repeated keys refused.

PyYAML reads YAML 1.1, where `1:30` is 90 and `no` is false, and keeps the last of repeated keys in silence.
mergekit reads its recipes so; a scalar that is a number in both versions, and not the same one, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from m2m.errors import RecipeError
from m2m.support.doors import MOST_BYTES, check_data, read_text, reading

_WHAT = "a merge recipe (YAML)"
#: Values in the longest recipe that is read.
_MOST_NODES = 1_000_000
_TAG = "tag:yaml.org,2002:"
#: The core schema of YAML 1.2 (section 10.3.2), and the merge key of 1.1 that recipes use: what plain
#: scalars are, and the characters that these begin with.
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.nan|\.NaN|\.NAN",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    """A safe loader of YAML 1.2 scalars that refuses repeated keys; `anchored` nodes have an anchor."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.anchored: set[yaml.Node] = set()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        if node is not None and event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            self.anchored.add(node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not where the mapping is made: merge keys (`<<`) have added theirs by then.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag != f"{_TAG}merge" and str(key.value) in seen:
                raise RecipeError(f"{_line(key)}: the key {key.value!r} is there twice")
            seen.add(str(key.value))
        return node


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1
for _kind, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"^(?:{_pattern})$"), _first)


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    bare = text.lstrip("-+")
    try:
        if bare[:2] in ("0o", "0x"):
            return int(bare, 0)
        value = int(text)
        octal = int(text, 8) if bare.startswith("0") and set(bare) <= set("01234567") else value
    except ValueError:
        raise RecipeError(f"{_line(node)}: {text!r:.80} is not a whole number that can be read") from None
    if octal != value:
        raise RecipeError(
            f"{_line(node)}: {text} is {octal} in YAML 1.1, as mergekit reads it, and {value} in YAML 1.2: "
            "write it without the leading 0"
        )
    return value


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    try:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise RecipeError(f"{_line(node)}: {text!r:.80} is not a number") from None


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    if text not in ("true", "false"):
        raise RecipeError(f"{_line(node)}: {text!r:.80} is neither true nor false")
    return text == "true"


_Loader.add_constructor(f"{_TAG}int", _integer)
_Loader.add_constructor(f"{_TAG}float", _float)
_Loader.add_constructor(f"{_TAG}bool", _boolean)


def read_yaml(path: Path, known: Collection[str] = ()) -> dict[str, Any]:
    """Read one YAML document that is a mapping; keys besides the `known` that hold anchors are left out."""
    text = read_text(path, _WHAT, RecipeError, pipe=True, most=MOST_BYTES)
    with reading(_WHAT, path, RecipeError):
        try:
            document = _document(text, known)
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{path}: must be a YAML mapping, got {type(document).__name__}")
    check_data(document, path, _WHAT, RecipeError)
    return document


def _document(text: str, known: Collection[str]) -> Any:
    loader = _Loader(text)
    try:
        if sum(isinstance(event, yaml.DocumentStartEvent) for event in yaml.parse(text)) > 1:
            raise RecipeError(
                "holds several documents (---), as mergekit-multi reads them: write one recipe a file, and "
                "merge them in their order, each result by its folder's name"
            )
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        document = loader.construct_document(node)
        if known and isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value not in known and _holds(value, loader.anchored):
                    document.pop(key.value, None)
        return document
    finally:
        loader.dispose()


def _holds(node: yaml.Node, anchored: set[yaml.Node]) -> bool:
    parts = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    return node in anchored or any(_holds(part, anchored) for part in parts)


def _count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    # Nodes, each counted wherever an alias or a merge key repeats it: ten lines can stand for billions.
    if node not in known:
        known[node] = _MOST_NODES + 1  # what an alias inside it would find
        parts: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[node] = 1 + sum(_count(part, known) for part in parts)
    if known[node] > _MOST_NODES:
        raise RecipeError(
            f"{_line(node)}: with its aliases this stands for more than {_MOST_NODES} values, or for itself"
        )
    return known[node]
