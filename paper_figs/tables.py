"""Read the CSV tables that the analyses write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

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
