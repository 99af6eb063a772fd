"""Read the CSV tables that the analyses write."""

from __future__ import annotations

import csv
import math
from pathlib import Path

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Read a table.

    Args:
        path: The CSV file.

    Returns:
        Its rows, cells as text.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    """Read a cell.

    Args:
        text: The cell.

    Returns:
        Its number; NaN if it is empty.
    """
    return float(text) if text else math.nan
