"""Patterns of module names in an adapter's configuration, matched as PEFT does, and in bounded time.

They are regular expressions that came with a download. Some of these try a number of ways that doubles with
every letter of a name, so what such a number can grow from is looked for first, and refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from re import _parser  # type: ignore[attr-defined]  # the one that knows what a pattern means
from typing import Any, NamedTuple

#: Most repetitions such as `.*` in a row: k of them try nᵏ ways in a name of n letters.
MOST_REPEATS = 4
#: Most ways that alternatives and optional parts may make together.
MOST_WAYS = 1024


class _Cost(NamedTuple):
    """How many ways a pattern has without repetitions, and how many repetitions."""

    ways: int
    repeats: int


_PLAIN = _Cost(1, 0)


def pattern_fault(pattern: str) -> str | None:
    """What keeps a pattern of module names from being used, if anything."""
    try:
        cost = _cost(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    if cost is None:
        return "repeats a part that repeats or chooses, which can take for ever"
    if cost.repeats > MOST_REPEATS:
        return f"has {cost.repeats} repetitions in a row, at most {MOST_REPEATS} are tried"
    return f"has more than {MOST_WAYS} ways to match" if cost.ways > MOST_WAYS else None


def of_module(patterns: Mapping[str, float], module: str, default: float) -> float:
    """The value of the first pattern that a module's name matches, or else the default."""
    # PEFT's own rule: the pattern is a regular expression for the whole name, or for what follows a dot.
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _cost(parsed: Iterable[tuple[Any, Any]]) -> _Cost | None:
    # None if a part is repeated that itself repeats or chooses.
    total = _PLAIN
    for kind, about in parsed:
        cost = _cost_of(str(kind), about)
        if cost is None:
            return None
        total = _Cost(min(total.ways * cost.ways, MOST_WAYS + 1), total.repeats + cost.repeats)
    return total


def _cost_of(kind: str, about: Any) -> _Cost | None:
    if kind == "BRANCH":
        costs = [_cost(part) for part in about[1]]
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs):
            return None
        return _Cost(sum(cost.ways for cost in known), max(cost.repeats for cost in known))
    if kind == "SUBPATTERN":
        return _cost(about[-1])
    if kind in ("ASSERT", "ASSERT_NOT"):
        return _cost(about[1])
    if kind == "ATOMIC_GROUP":
        return _cost(about)
    if kind.endswith("_REPEAT"):
        _, most, part = about
        inner = _cost(part)
        if inner is not None and most == 1:
            return _Cost(1 + inner.ways, inner.repeats)
        return _Cost(1, 1) if inner == _PLAIN else None
    return None if kind == "GROUPREF_EXISTS" else _PLAIN
