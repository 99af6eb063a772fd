"""Content keys: what a model or a task is made of, hashed; equal keys mean equal things."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

#: What a content key is made of.
Part = str | int | float | None | Sequence["Part"]


def content_key(*parts: Part) -> str:
    """Hash what a thing is made of to 32 hex digits, so that equal keys mean equal things."""
    # A merged model is its rule, base, experts, weights and dtype; a task its name, version, items and seed.
    # Numbers go in exactly, and parts do not run into each other: ("ab", "c") and ("a", "bc") differ.
    return hashlib.sha256(json.dumps(_exact(parts)).encode()).hexdigest()[:32]


def _exact(part: Part) -> Any:
    if isinstance(part, float):
        return {"float": part.hex()}
    if part is None or isinstance(part, str | int):
        return part
    return [_exact(item) for item in part]
