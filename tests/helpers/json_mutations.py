"""Draws changes to JSON documents: other values, names and shapes, most of them at edges."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

#: Numbers at which offsets, shapes and lengths go wrong.
EDGES = [0, 1, -1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]
SCALARS = st.sampled_from(
    [*EDGES, 0.5, float("nan"), float("inf"), None, True, "", "F32", "BF16", "../x", "\0", "ü"]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def mutate_json(table: Any, data: st.DataObject) -> None:
    """Change one value, name or entry anywhere in a JSON document."""
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(table[key], dict | list) and table[key] and data.draw(st.booleans()):
            table = table[key]
            continue
        action = data.draw(st.sampled_from(["set", "drop", "rename", "copy"]))
        if action == "set":
            table[key] = data.draw(JSON)
        elif action == "drop":
            table.pop(key)
        elif isinstance(table, dict):
            new = data.draw(st.sampled_from(["__metadata__", "a", "", "\ud800"]) | st.text(max_size=4))
            table[new] = table[key] if action == "copy" else table.pop(key)
        return
