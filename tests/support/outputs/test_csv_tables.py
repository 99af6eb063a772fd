"""CSV: what is written is read back the same; no spreadsheet computes a text; blanks are no part of cells."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2m.errors import InputError
from m2m.support.csv_tables import guarded, read_frame, read_rows, unguarded, write_frame, write_rows

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-a", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1", "-1+2", "=", "-"]


@given(st.text(alphabet="=+-@'\t\r\n01.e a", max_size=6))
def test_guarding_is_undone_and_leaves_no_formula(text: str) -> None:
    written = guarded(text)
    assert unguarded(written) == text
    if written[:1] in tuple("=+-@\t\r\n"):
        float(written)


@pytest.mark.parametrize("cell", [-0.5, -1, None, True, "-0.5", "+1e-3", "a+b", "a=0.5", "", "'", "'a"])
def test_numbers_and_other_texts_stay_as_they_are(cell: object) -> None:
    assert guarded(cell) is cell


@pytest.mark.parametrize("frame", [False, True])
def test_no_cell_of_a_file_is_a_formula_and_all_are_read_back(tmp_path: Path, frame: bool) -> None:
    path, header = tmp_path / "x.csv", ["=name", "value"]
    rows = [(text.strip(), -0.5 * number) for number, text in enumerate(FORMULAS)]
    if frame:
        write_frame(path, pd.DataFrame(rows, columns=header))
    else:
        write_rows(path, header, rows)
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[0] in "=+@\t\r"]
    assert {float(cell) for cell in cells if cell[0] == "-"} == {-0.5 * n for n in range(len(rows))}
    read = [(row["=name"], float(row["value"])) for _, row in read_rows(path, "it")]
    assert read == rows
    table = read_frame(path, "it")
    assert list(table.itertuples(index=False, name=None)) == rows
    assert table["value"].dtype == float


@pytest.mark.parametrize("text", ["a , b\n 1 ,x \n2, y z\n", "\ufeffa,b\r\n1,x\r\n\r\n2,y z\r\n"])
def test_blanks_around_cells_are_no_part_of_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert [row for _, row in read_rows(path, "it")] == [{"a": "1", "b": "x"}, {"a": "2", "b": "y z"}]
    assert read_frame(path, "it").to_dict("list") == {"a": [1, 2], "b": ["x", "y z"]}
    assert read_frame(path, "it", text=True).to_dict("list") == {"a": ["1", "2"], "b": ["x", "y z"]}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_semicolons_and_tabs_part_cells_and_leave_commas_to_numbers(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a;b;c\n0,25;x, y;1.5\n-1,5e-3;z;2\n".replace(";", mark), encoding="utf-8")
    rows = [{"a": "0.25", "b": "x, y", "c": "1.5"}, {"a": "-1.5e-3", "b": "z", "c": "2"}]
    assert [row for _, row in read_rows(path, "it")] == rows
    assert read_frame(path, "it", text=True).to_dict("records") == rows
    numbers = {"a": [0.25, -0.0015], "b": ["x, y", "z"], "c": [1.5, 2.0]}
    assert read_frame(path, "it").to_dict("list") == numbers


@pytest.mark.parametrize("text", ["a,a \n1,2\n", "a,b\n1,2,3\n", "a,b\n1\n", 'a,b\n"1,2\n', "a,b\n\xff,1\n"])
def test_what_pandas_would_repair_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode("latin-1"))
    for read in (lambda: list(read_rows(path, "it")), lambda: read_frame(path, "it")):
        with pytest.raises(InputError, match=r"x\.csv"):
            read()
