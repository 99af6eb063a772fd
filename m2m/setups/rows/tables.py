"""Rows of any file: JSON Lines, JSON, CSV, parquet, Arrow, folders and hub ids of Hugging Face `datasets`.

A row is its columns by name, and comes with where it stands, for messages.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError, DataError
from m2m.support.doors import read_json, read_text, reading, require_file, unique_names
from m2m.support.extras import installing
from m2m.support.schema import did_you_mean, repeated, shown

#: A row: its columns by name.
Row = Mapping[str, Any]
#: Rows with where each stands, as `a.jsonl, line 3`.
Rows = Iterator[tuple[str, Row]]

#: Longest cell of a CSV file, in characters; Python's own limit is 131,072.
MOST_LETTERS = 2**30
#: What `datasets` writes into a folder of `save_to_disk`: of one split, and of several.
_ONE, _SEVERAL = "state.json", "dataset_dict.json"


def json_lines(path: Path) -> Rows:
    """Read JSON objects, one a line; only newline bytes end a line, as texts hold U+2028 and the like."""
    require_file(path, "JSON Lines", DataError)
    with reading("JSON Lines", path, DataError), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                with reading("a JSON object", where, DataError):
                    row = json.loads(
                        line.decode("utf-8-sig" if number == 1 else "utf-8"), object_pairs_hook=unique_names
                    )
                yield where, _object(row, where)


def json_rows(path: Path) -> Rows:
    """Read an array of JSON objects; a file that does not begin with `[` has an object a line."""
    text = read_text(path, "JSON", DataError)
    if not text.lstrip().startswith("["):
        yield from json_lines(path)
        return
    with reading("JSON", path, DataError):
        rows = json.loads(text, object_pairs_hook=unique_names)
    for number, row in enumerate(rows, start=1):
        where = f"{path}, object {number}"
        yield where, _object(row, where)


def csv_rows(path: Path) -> Rows:
    """Read a CSV file (of a `.tsv`: with tabs) by the names in its first line; every cell is text."""
    require_file(path, "CSV", DataError)
    between = "\t" if path.suffix.lower() == ".tsv" else ","
    before = csv.field_size_limit(MOST_LETTERS)
    try:
        with reading("CSV", path, DataError), path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=between, strict=True)
            header = next(lines, [])
            if (twice := repeated(header)) is not None:
                raise DataError(f"{path}: there is more than one column {twice!r}")
            for cells in filter(None, lines):
                where = f"{path}, line {lines.line_num}"
                if len(cells) != len(header):
                    raise DataError(f"{where}: got {len(cells)} cells, wanted {len(header)} as in the header")
                yield where, dict(zip(header, cells, strict=True))
    finally:
        csv.field_size_limit(before)


def parquet_rows(path: Path) -> Rows:
    """Read a parquet file, a batch of rows at a time."""
    require_file(path, "parquet", DataError)
    parquet = _arrow(path, "parquet")
    with reading("parquet", path, DataError):
        batches = parquet.ParquetFile(path).iter_batches()
        yield from _numbered(path, (row for batch in batches for row in batch.to_pylist()))


def arrow_rows(path: Path) -> Rows:
    """Read an Arrow file, in the stream format that `datasets` writes or in the file format."""
    require_file(path, "Arrow", DataError)
    ipc = _arrow(path, "ipc")
    with reading("Arrow", path, DataError), path.open("rb") as file:
        stream = file.read(6) != b"ARROW1"
        file.seek(0)
        opened = ipc.open_stream(file) if stream else ipc.open_file(file)
        batches: Iterable[Any] = (
            opened if stream else (opened.get_batch(number) for number in range(opened.num_record_batches))
        )
        yield from _numbered(path, (row for batch in batches for row in batch.to_pylist()))


def is_datasets_folder(path: Path) -> bool:
    """Say whether `datasets` saved this folder."""
    return (path / _ONE).is_file() or (path / _SEVERAL).is_file()


def folder_rows(path: Path, split: str, said: str) -> Rows:
    """Read a folder of `save_to_disk`; of several splits the one asked for. `said` begins messages."""
    if (path / _SEVERAL).is_file():
        splits = read_json(path / _SEVERAL, "what `datasets` saved", DataError, {"splits": [str]})["splits"]
        path /= _split(splits, split, f"{said}: {path}")
    elif split:
        raise ConfigError(f"{said}: {path} has one split only: leave `split` out")
    state = read_json(path / _ONE, "what `datasets` saved", DataError, {"_data_files": [{"filename": str}]})
    for file in state["_data_files"]:
        yield from arrow_rows(path / file["filename"])


def hub_rows(name: str, config: str, split: str, said: str) -> Rows:
    """Read a data set of the hub through `datasets`, which takes it from its cache where it has it."""
    if find_spec("datasets") is None:
        raise ConfigError(f"{said}: `hub = {name!r}` needs datasets: {installing('datasets')}")
    datasets = import_module("datasets")
    try:
        with _no_bars(datasets):
            found = datasets.load_dataset(name, config or None)
    except Exception as error:  # whatever the client raises: network, authorisation, unknown id
        why = " ".join(str(error).split())
        raise DataError(
            f"{said}: {name} is not in the cache of `datasets`, and cannot be fetched: {why:.300}"
        ) from error
    part = _split(list(found), split, f"{said}: {name}")
    yield from _numbered(f"{name} {part}", found[part])


def _split(there: list[str], wanted: str, where: str) -> str:
    if not wanted and len(there) == 1:
        return there[0]
    if wanted not in there:
        got = f"has no split {wanted!r}{did_you_mean(wanted, there)}" if wanted else "has several splits"
        raise ConfigError(f'{where} {got}; say which, as in `split = "{there[0]}"`: there are {there}')
    return wanted


@contextmanager
def _no_bars(datasets: Any) -> Iterator[None]:
    shown_before = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown_before:
            datasets.enable_progress_bars()


def _arrow(path: Path, part: str) -> Any:
    if find_spec("pyarrow") is None:
        raise ConfigError(f"{path} needs pyarrow: {installing('parquet')}")
    return import_module(f"pyarrow.{part}")


def _numbered(name: object, rows: Iterable[Row]) -> Rows:
    for number, row in enumerate(rows, start=1):
        yield f"{name}, row {number}", row


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where}: wanted a JSON object, got {shown(row)}")
    return row


#: Reader by the name it has in a configuration.
TABLES: Mapping[str, Callable[[Path], Rows]] = {
    "jsonl": json_lines,
    "json": json_rows,
    "csv": csv_rows,
    "parquet": parquet_rows,
    "arrow": arrow_rows,
}
#: Reader by a file's ending; a file with another one is text.
ENDINGS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip
