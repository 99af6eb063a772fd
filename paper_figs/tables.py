"""Read the tables and results that the analyses write, and write their numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m2m.support.csv_tables import read_rows

Row = dict[str, str]
#: The column in which a table says why cells are empty.
UNDEFINED = "undefined"


def read(path: Path) -> list[Row]:
    """Read a CSV table's rows, cells as text."""
    return [row for _, row in read_rows(path, "the table")]


def reasons(rows: Sequence[Row], *columns: str) -> list[str]:
    """Return why cells of the drawn columns are empty, each `column: reason` once."""
    said = (part for row in rows for part in row.get(UNDEFINED, "").split("; "))
    return list(dict.fromkeys(part for part in said if part.partition(":")[0] in columns))


def number(text: str) -> float:
    """Read a cell's number; NaN if it is empty."""
    return float(text) if text else math.nan


def result(results: Path, experiment: str) -> dict[str, Any]:
    """Read what one experiment found, of a folder with a folder an experiment."""
    content: dict[str, Any] = json.loads((results / experiment / "result.json").read_text(encoding="utf-8"))
    return content


def written(value: float | None, form: str = ".2f") -> str:
    """Write a number as the page does, `−0.12` or `4 %`; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return format(value, form).replace("-", "−").replace("%", " %")


def estimate(found: Mapping[str, Any] | None, form: str = ".2f") -> str:
    """Write an estimate with its interval, `0.78 [0.70, 0.84]`; a dash where there is none."""
    if found is None or found["value"] is None:
        return "–"
    value, low, high = (written(found[name], form) for name in ("value", "low", "high"))
    return value if "–" in (low, high) else f"{value} [{low}, {high}]"
