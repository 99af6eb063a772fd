"""Read the CSV tables that the analyses write."""

from __future__ import annotations

import math
from pathlib import Path

from m2m.csv_tables import read_rows

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Read a table.

    Args:
        path: The CSV file.

    Returns:
        Its rows, cells as text.
    """
    return [row for _, row in read_rows(path, "the table")]


def number(text: str) -> float:
    """Read a cell.

    Args:
        text: The cell.

    Returns:
        Its number; NaN if it is empty.
    """
    return float(text) if text else math.nan
