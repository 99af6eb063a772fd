"""What verbs show: JSON or small tables on stdout, notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def print_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one line of JSON to stdout."""
    print(json.dumps(content, ensure_ascii=False, allow_nan=False, default=str), flush=True)


def print_notes(notes: Iterable[str]) -> None:
    """Print what the user should know to stderr."""
    for note in notes:
        print(f"m2m: note: {note}", file=sys.stderr)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column is not padded."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
