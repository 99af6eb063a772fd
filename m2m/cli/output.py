"""What verbs print: one line of JSON, or a small table for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def print_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one line of JSON to stdout.

    Args:
        content: What to print; paths become text.
    """
    print(json.dumps(content, ensure_ascii=False, allow_nan=False, default=str), flush=True)


def print_notes(notes: Iterable[str]) -> None:
    """Print what the user should know to stderr.

    Args:
        notes: A line each.
    """
    for note in notes:
        print(f"m2m: note: {note}", file=sys.stderr)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column is not padded.

    Args:
        rows: Cells, the same number in every row.
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
