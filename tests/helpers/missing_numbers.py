"""What a folder of results lacks without saying why: the law that every analysis's files obey."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.results import UNDEFINED, UNFORESEEN

#: Columns that hold words, which may be empty.
WORDS = {"reason", "method", "kind", "run", "rows", "members", "condition", UNDEFINED}


def unexplained(folder: Path) -> list[str]:
    """List the numbers that a folder's JSON and CSV files lack without a reason, or for one nobody foresaw.

    A JSON may leave a field null on purpose (what was not asked for) if its name is not a number's; those are
    listed too, so that a test decides.
    """
    found = [f"{path.name}: {place}" for path in sorted(folder.glob("*.json")) for place in _of_json(path)]
    return found + [f"{path.name}: {cell}" for path in sorted(folder.glob("*.csv")) for cell in _of_csv(path)]


def _of_json(path: Path) -> Iterator[str]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{path.name} holds {word}")

    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    reasons = content.get(UNDEFINED, {})
    yield from (name for name, reason in reasons.items() if reason == UNFORESEEN)
    yield from sorted({place for names, place in _nulls((), "", content) if not {*names} & {*reasons}})


def _nulls(names: tuple[str, ...], place: str, value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict) and not value.get("reason"):
        for key, item in value.items():
            yield from _nulls((*names[-1:], key), f"{place}.{key}".strip("."), item)
    elif isinstance(value, list):
        for item in value:
            yield from _nulls(names, place, item)
    elif value is None:
        yield names, place


def _of_csv(path: Path) -> Iterator[str]:
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        said = row.get(UNDEFINED, "")
        if UNFORESEEN in said:
            yield said
        for name, cell in row.items():
            if cell in ("nan", "inf", "-inf"):
                yield f"{name} is {cell}"
            empty = cell == "" and name not in WORDS and not row.get("reason")
            if empty and f"{name}: " not in said:
                yield f"{name} is empty"
