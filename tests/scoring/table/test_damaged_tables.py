"""Score tables that are damaged, foreign or made to harm: one line that names the file, nothing else."""

from __future__ import annotations

import os
import random
import sqlite3
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m2m.errors import InputError
from m2m.mixture import Mixture
from m2m.scoring.table import ScoreTable


def table_of(path: Path, rows: int = 3) -> Path:
    """Write a table of a few rows, all in one file."""
    with ScoreTable(path) as table:
        for row in range(rows):
            scores = SimpleNamespace(values={"loss": np.arange(1.0, 5.0) + row})
            mixture = Mixture.subset(["a", "b"], ["a"])
            table.add(f"k{row}", mixture, "merged", None, "t", "validation", "1", scores, {"loss": False})
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


def read_all(path: Path) -> None:
    with ScoreTable(path) as table:
        table.has("k0", "t", "validation", "1")
        table.rows()
        table.frame()


def refused(path: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_all(path)
    said = str(raised.value)
    assert path.name in said
    assert len(said.splitlines()) == 1
    return said


def change(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


BAD = {
    "candidate": [b"x"], "members": ["[", "{}", "3", '["a", 3]', "[null]", b"[]"],
    "weights": ["{", "[]", '{"a": "x"}', '{"a": null}'], "origin": ["guessed"], "seed": ["x", 1.5, b""],
    "value": ["x", b"1", float("inf"), -float("inf")],
    "higher_is_better": [2, "x"], "count": [0, -1, 2**60, 2, "x"],
    "examples": [b"", b"junk", zlib.compress(b"\0" * 7), "text"], "precision": [0, 3, 16, "x"],
    "task": [b"\xff"], "created": [b"5"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_cell_that_m2m_never_wrote_is_found_before_it_is_used(
    column: str, value: Any, tmp_path: Path
) -> None:
    path = table_of(tmp_path / "scores.sqlite")
    change(path, f"UPDATE scores SET {column} = ? WHERE key = 'k1'", value)
    refused(path)


def test_the_rest_of_a_table_stays_of_use(tmp_path: Path) -> None:
    path = table_of(tmp_path / "scores.sqlite")
    change(path, "UPDATE scores SET members = '[' WHERE key = 'k1'")
    with ScoreTable(path) as table:
        assert len(table.rows(key="k0")) == 1


def test_a_few_bytes_do_not_unpack_to_gigabytes(tmp_path: Path) -> None:
    path = table_of(tmp_path / "scores.sqlite")
    change(path, "UPDATE scores SET examples = ? WHERE key = 'k1'", zlib.compress(bytes(2**28)))
    assert "cut off" in refused(path)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE scores",
        "ALTER TABLE scores RENAME COLUMN value TO worth",
        "ALTER TABLE scores DROP COLUMN created",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 1",
    ],
)
def test_another_layout_is_refused(statement: str, tmp_path: Path) -> None:
    path = table_of(tmp_path / "scores.sqlite")
    change(path, statement)
    refused(path)


def test_a_view_is_no_table(tmp_path: Path) -> None:
    path = table_of(tmp_path / "scores.sqlite")
    change(path, "ALTER TABLE scores RENAME TO hidden")
    change(path, "CREATE VIEW scores AS SELECT * FROM hidden")
    assert "other columns" in refused(path)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_and_lost_bytes_are_the_files_fault(seed: int, tmp_path: Path) -> None:
    path, draw = table_of(tmp_path / "scores.sqlite", rows=40), random.Random(seed)
    whole = path.read_bytes()
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 8, 64])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice([len(content)] * 3 + [draw.randrange(len(content))])])
        for left in ("-wal", "-shm"):
            path.with_name(path.name + left).unlink(missing_ok=True)
        try:
            read_all(path)
        except InputError as error:
            said = str(error)
        else:
            said = str(path)  # what changed is not read
        assert path.name in said


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scores.sqlite")
    assert "is a pipe" in refused(tmp_path / "scores.sqlite")
