"""CSV tables as users write them: a header that names each column once, rows as long as it, plain numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from m2m.config_keys import repeated
from m2m.doors import reading, require_file
from m2m.errors import InputError

_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def read_rows(path: Path, what: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table row by row; blanks around cells are no part of them, empty lines no rows.

    Args:
        path: The file.
        what: What it is, for messages.

    Yields:
        tuple[int, dict[str, str]]: The number of the line in the file, and the cells by column.
    """
    lines = _lines(path, what, pipe=True)
    _, header = next(lines, (0, []))
    for line, cells in lines:
        yield line, dict(zip(header, cells, strict=True))


def check_table(path: Path, what: str) -> None:
    """Check a table that another reader will read, which would rename columns or shift cells in silence.

    Args:
        path: The file.
        what: What it is, for messages.

    Raises:
        InputError: If the file cannot be read or is no CSV, columns are named alike, or a row has more or
            fewer cells than the header.
    """  # noqa: DOC502 - raised by what is called
    for _ in _lines(path, what, pipe=False):
        pass


def _lines(path: Path, what: str, *, pipe: bool) -> Iterator[tuple[int, list[str]]]:
    # The header first; each with its number in the file.
    columns = 0
    require_file(path, what, pipe=pipe)
    with reading(f"{what} (CSV)", path), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, skipinitialspace=True, strict=True)
        for cells in filter(None, lines):
            if not columns:
                columns = len(cells)
                _check_header(cells, f"{path}, line {lines.line_num}")
            if len(cells) != columns:
                raise InputError(
                    f"{path}, line {lines.line_num}: wanted as many cells as the header has columns "
                    f"({columns}), got {len(cells)}; a decimal or thousands comma makes two cells of one"
                )
            yield lines.line_num, [cell.strip() for cell in cells]


def _check_header(names: Sequence[str], where: str) -> None:
    twice = repeated(name.strip() for name in names)
    if twice is not None:
        raise InputError(f"{where}: there is more than one column {twice!r}; every column needs its own name")


def number(cell: str) -> float:
    """Read a number as it is written in a cell.

    Args:
        cell: Decimal digits with a decimal point, and an exponent if wanted.

    Returns:
        The number.

    Raises:
        ValueError: If it is written otherwise: Python's own `1_000`, a decimal comma, `nan`.
    """
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{cell!r} is not a number; wanted digits with a decimal point, as 0.25 or 1e-3")
    return float(cell)
