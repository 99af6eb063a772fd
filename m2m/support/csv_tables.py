"""CSV tables: read as users write them, and written so that no spreadsheet computes what is only text.

A header names each column once, rows are as long as it, blanks around cells are no part of them. Where the
header has no comma but semicolons or tabs, these part the cells, and a comma may stand for a decimal point.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2m.errors import InputError
from m2m.support.doors import reading, require_file
from m2m.support.files import replacing
from m2m.support.schema import repeated

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
#: A number as half of Europe writes it.
_DECIMAL_COMMA = re.compile(r"^([-+]?[0-9]+),([0-9]+(?:[eE][-+]?[0-9]+)?)$")
#: How a text begins that spreadsheets take for a formula, or that reads like a guarded one.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def read_rows(path: Path, what: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table row by row: the number of the line, and the cells by column."""
    lines = _lines(path, what, pipe=True)
    _, header = next(lines, (0, []))
    for line, cells in lines:
        yield line, dict(zip(header, cells, strict=True))


def read_frame(path: Path, what: str, *, text: bool = False) -> pd.DataFrame:
    """Read a table of many rows as `read_rows` does; columns of numbers are numbers, unless `text`."""
    import pandas as pd

    for _ in _lines(path, what, pipe=False):  # pandas renames columns and shifts cells in silence
        pass
    kind: dict[str, Any] = {"dtype": str} if text else {}
    with reading("a CSV table", path):
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = _separator(file.readline())
        table = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            skipinitialspace=True,
            keep_default_na=False,
            **kind,
        )
    plain = _with_texts(table, lambda cell: _plain(cell, separator))
    return plain if text else plain.apply(_numeric)


def number(cell: str) -> float:
    """Read a cell's number; `ValueError` on Python's own `1_000`, a decimal comma, `nan`."""
    if not _NUMBER.fullmatch(cell):
        raise ValueError(f"{cell!r} is not a number; wanted digits with a decimal point, as 0.25 or 1e-3")
    return float(cell)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table row by row, numbers so that they read back the same; it appears whole or not at all."""
    with replacing(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        writer.writerow(map(guarded, header))
        writer.writerows(map(guarded, row) for row in rows)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a data frame without its index; the file appears whole or not at all."""
    with replacing(path) as file:
        _with_texts(frame, guarded).to_csv(file, index=False)


def guarded(cell: Any) -> Any:
    """Put an apostrophe before a text, not a number, that spreadsheets would compute."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def unguarded(cell: str) -> str:
    """Undo `guarded`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _lines(path: Path, what: str, *, pipe: bool) -> Iterator[tuple[int, list[str]]]:
    # The header first; each with its number in the file.
    columns = 0
    require_file(path, what, pipe=pipe)
    with reading(f"{what} (CSV)", path), path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        separator = _separator(first)
        lines = csv.reader(chain([first], file), delimiter=separator, skipinitialspace=True, strict=True)
        for cells in filter(None, lines):
            if not columns:
                columns = len(cells)
                _check_header(cells, f"{path}, line {lines.line_num}")
            if len(cells) != columns:
                raise InputError(
                    f"{path}, line {lines.line_num}: wanted as many cells as the header has columns "
                    f"({columns}), got {len(cells)}; a decimal or thousands comma makes two cells of one"
                )
            yield lines.line_num, [_plain(cell, separator) for cell in cells]


def _plain(cell: str, separator: str) -> str:
    """What a cell says: without blanks around it and its guard; with a decimal point in place of a comma."""
    said = unguarded(cell.strip())
    return said if separator == "," else _DECIMAL_COMMA.sub(r"\1.\2", said)


def _separator(header: str) -> str:
    return next((mark for mark in ",;\t" if mark in header), ",")


def _check_header(names: Sequence[str], where: str) -> None:
    twice = repeated(name.strip() for name in names)
    if twice is not None:
        raise InputError(f"{where}: there is more than one column {twice!r}; every column needs its own name")


def _with_texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with its texts changed, names of columns too; each different text is seen once."""
    changed = frame.rename(columns=change)
    for place, column in enumerate(frame.columns):
        values = frame[column]
        if values.dtype.kind in "OUS" and not values.empty:
            to = {value: change(value) for value in values.unique() if isinstance(value, str)}
            if any(value != new for value, new in to.items()):
                changed.isetitem(place, [to.get(value, value) for value in values])
    return changed


def _numeric(values: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    if values.dtype.kind not in "OUS" or (values == "").any():  # pandas would make a number of nothing
        return values
    try:
        return pd.to_numeric(values)
    except (ValueError, TypeError, OverflowError):
        return values
