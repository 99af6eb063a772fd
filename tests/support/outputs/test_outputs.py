"""Outputs held against inputs and against what is there: one case a bad place, nothing made or changed."""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import get_type_hints

import pytest

from m2m.errors import InputError
from m2m.pipeline.run_folder import RunFolder
from m2m.support.outputs import RUN_DRAWS, RUN_KEEPS, RUN_MARK, Output, check_outputs, results_in


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one of everything, which no check may change."""
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "model", "run", "run/experts", "full", "other.merging"):
        Path(folder).mkdir()
    for file in ("file.csv", "model/weights", "run/run.json", "full/x", "table.txt"):
        Path(file).write_text("content", encoding="utf-8")
    with closing(sqlite3.connect("scores.db")) as database:
        database.execute("CREATE TABLE t (x)")
    os.mkfifo("fifo")
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind("socket")
        for link, target in {
            "to_file": "file.csv", "to_folder": "folder", "to_nothing": "new.csv", "to_nowhere": "none/x.csv",
            "loop": "loop", "to_weights": "model/weights", "to_null": "/dev/null",
        }.items():  # fmt: skip
            Path(link).symlink_to(target)
        os.link("model/weights", "hard")
        before = listing(tmp_path)
        yield tmp_path
        assert listing(tmp_path) == before


def listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found


def refusal(path: str, kind: str = "file", inputs: tuple[str, ...] = ("model", "table.txt")) -> str:
    with pytest.raises(InputError) as caught:
        check_outputs([Output(f"--out {path}", Path(path), kind)], inputs=inputs)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"--out {path}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "new.csv",
        "file.csv",
        "folder/x",
        "to_file",
        "to_nothing",
        "to_folder/x",
        "./folder/../y",
        "run/mine.csv",
    ],
)
def test_good_places_for_a_file(path: str) -> None:
    check_outputs([Output("--out", Path(path))], inputs=["model", "table.txt", "not/there", "a\0b"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("folder", "is a folder, wanted a file"),
        ("to_folder", "is a folder"),
        (".", "is a folder"),
        ("", "is a folder"),
        ("/", "is a folder"),
        ("fifo", "is a pipe"),
        ("socket", "is a socket"),
        ("to_null", "is a device"),
        ("/dev/full", "is the system's"),
        ("/dev/stdout", "is the system's"),
        ("/dev/fd/1", "is the system's"),
        ("/proc/self/fd/1", "is the system's"),
        ("-", "standard output"),
        ("loop", "is a link, wanted a file"),
        ("to_nowhere", "there is no folder /"),
        ("none/x.csv", "there is no folder none; `mkdir -p none` makes it"),
        ("file.csv/x.csv", "is a file, wanted a folder"),
        ("file.csv/y/x.csv", "there is no folder file.csv/y"),
        ("x" * 256, "wanted at most 255"),
        ("y/" * 3000, "too long"),
        ("scores.db", "is an SQLite database"),
        ("x.sqlite", "m2m gives its own files"),
        ("x.sqlite-wal", "m2m gives its own files"),
        ("x.race.csv", "m2m gives its own files"),
        ("x.race.json", "m2m gives its own files"),
        (".x.new", "m2m gives its own files"),
        ("table.txt", "is an input, table.txt"),
        ("hard", "is an input, model/weights"),
        ("to_weights", "is an input, model/weights"),
        ("model/weights", "is an input"),
        ("model/new", "lies in an input, model"),
        ("run/run.json", "is kept by the run"),
        ("run/results.json", "is kept by the run"),
        ("run/experts/x", "is kept by the run"),
    ],
)
def test_bad_places_for_a_file(path: str, said: str) -> None:
    assert said in refusal(path)


def test_a_null_character_is_no_traceback() -> None:
    with pytest.raises(InputError, match="null character"):
        check_outputs([Output("--out", Path("a\0b"))])


@pytest.mark.parametrize(
    "path", ["new", "folder", "to_folder", "new/x/y", "to_nothing", "full", "run", "run/x"]
)
def test_good_places_for_a_folder(path: str) -> None:
    check_outputs([Output("--out", Path(path), "folder")], inputs=["model", "table.txt"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("file.csv", "is a file, wanted a folder"),
        ("to_file", "is a file, wanted a folder"),
        ("fifo", "is a pipe"),
        ("/dev/full", "is the system's"),
        ("file.csv/x", "is a file, wanted a folder"),
        ("file.csv/x/y", "is a file, wanted a folder"),
        ("model", "is an input"),
        ("model/new", "lies in an input"),
        ("run/experts", "is kept by the run"),
        (".x.merging", "m2m gives its own files"),
    ],
)
def test_bad_places_for_a_folder(path: str, said: str) -> None:
    assert said in refusal(path, "folder")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("folder", "is a folder, wanted a file"),
        ("file.csv", "is no SQLite database"),
        ("fifo", "is a pipe"),
        ("none/x.sqlite", "there is no folder"),
        ("x" * 250, "wanted at most 247"),
        ("to_weights", "is"),
    ],
)
def test_bad_places_for_a_table(path: str, said: str) -> None:
    assert said in refusal(path, "table")


def test_good_places_for_a_table() -> None:
    for path in ("scores.db", "new.sqlite"):
        check_outputs([Output("--out", Path(path), "table")], inputs=["model"])


def test_what_stands_beside_a_table_counts(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "x.sqlite").touch()
    (other / "x.sqlite-wal").mkdir()
    with pytest.raises(InputError, match=r"x\.sqlite-wal is a folder"):
        check_outputs([Output("--out", other / "x.sqlite", "table")])


def test_a_work_folder_is_no_link_and_holds_no_input() -> None:
    with pytest.raises(InputError, match="is a link, wanted a folder"):
        check_outputs([Output("OUT x", Path("to_folder"), "work", own=True)])
    with pytest.raises(InputError, match=r"holds an input, full/x"):
        check_outputs([Output("OUT x", Path("full"), "work", own=True)], inputs=["full/x"])


def test_two_outputs_are_not_the_same_file() -> None:
    outputs = [Output("--out file.csv", Path("file.csv")), Output("--examples to_file", Path("to_file"))]
    with pytest.raises(InputError, match=r"--examples to_file is the file of --out file\.csv too"):
        check_outputs(outputs)


def test_results_in_a_folder_are_files_that_are_no_input(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("results")
    check_outputs(results_in("--out", folder / "new", "fidelity"))
    (folder / "fidelity_points.csv").touch()
    check_outputs(results_in("--out", folder, "fidelity"), inputs=[folder / "fidelity.txt"])
    with pytest.raises(InputError, match="is an input"):
        check_outputs(results_in("--out", folder, "fidelity"), inputs=[folder / "fidelity_points.csv"])
    (folder / "fidelity.png").mkdir()
    with pytest.raises(InputError, match=r"fidelity\.png is a folder, wanted a file"):
        check_outputs(results_in("--out", folder, "fidelity"))


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("sealed/new.csv", "file", "nothing may be written in"),
        ("sealed/new", "folder", "nothing may be written in"),
        ("sealed/new/x", "folder", "nothing may be written in"),
        ("sealed", "folder", "may not be written"),
        ("read_only.csv", "file", "may not be written: it is read-only"),
        ("read_only.sqlite", "table", "may not be written: it is read-only"),
    ],
)
def test_places_without_permission(path: str, kind: str, said: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # outside of pytest's folder, which others may not look into
        folder = Path(name)
        (folder / "sealed").mkdir(0o555)
        for file in ("read_only.csv", "read_only.sqlite"):
            (folder / file).touch(0o444)
        folder.chmod(0o777)
        with an_ordinary_user(), pytest.raises(InputError, match=said):
            check_outputs([Output("--out", folder / path, kind)])  # type: ignore[arg-type]


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """Be somebody whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_run_keeps_what_it_writes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    names = [
        name
        for name, value in vars(RunFolder).items()
        if isinstance(value, property) and get_type_hints(value.fget)["return"] is Path
    ]
    kept = {getattr(folder, name).name for name in names}
    assert folder.identity.name == RUN_MARK
    assert kept | {"experts", "mixtures", ".lock"} == RUN_KEEPS | {RUN_DRAWS}
