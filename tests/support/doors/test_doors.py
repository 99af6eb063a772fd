"""Files that are no files, no text, or text that no parser should swallow: one line that names the file."""

from __future__ import annotations

import errno
import os
import tomllib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m2m.errors import CheckpointError, ConfigError, InputError, RecipeError
from m2m.support.doors import (
    MOST_BYTES,
    MOST_LEVELS,
    check_data,
    read_json,
    read_text,
    read_toml,
    reading,
    require_file,
)
from m2m.support.schema import PERHAPS, check_shape

DEEP = 100_000
TEXTS = {
    "deep JSON": b"[" * DEEP,
    "deep JSON that closes": b"[" * 200 + b"]" * 200,
    "deep TOML": b"a = " + b"[" * DEEP,
    "deep dotted TOML": b"a" + b".a" * 500 + b" = 1",
    "4,301 digits": b'{"a": ' + b"9" * 4301 + b"}",
    "4,301 digits in TOML": b"a = " + b"9" * 4301,
    "hexadecimal without end": b"a = 0x" + b"f" * 5000,
    "20 digits": b'{"a": 99999999999999999999}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": b'{"a": "\xe9"}',
    "half a letter": rb'{"a": "\ud800"}',
    "half a letter as a name": rb'{"\udfff": 1}',
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice in TOML": b"a = 1\na = 2",
    "NUL": b"\0\0\0",
    "nothing": b"",
    "cut off": b'{"a": [1, 2',
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("read", [read_json, read_toml])
def test_bad_text_is_one_line(name: str, read: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXTS[name])
    if name == "nothing" and read is read_toml:
        assert read(path, "a thing") == {}
        return
    with pytest.raises(RecipeError) as raised:
        read(path, "a thing", RecipeError)
    said = str(raised.value)
    assert said.startswith(f"{path} is not a thing: ")
    assert len(said.splitlines()) == 1
    assert len(said) < 600


def test_marks_and_ends_of_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 'x'\r\n")
    assert read_toml(path, "a thing") == {"a": 1, "b": "x"}
    assert read_text(path, "a thing") == "a = 1\nb = 'x'\n"


def test_documents_have_an_end_and_texts_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"[" + b" " * 100 + b"]")
    monkeypatch.setattr("m2m.support.doors.MOST_BYTES", 50)
    with pytest.raises(InputError, match="more than 50 bytes"):
        read_json(path, "a thing")
    assert len(read_text(path, "a thing")) == 102


@pytest.fixture(params=["pipe", "folder", "device", "loop", "NUL"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "file"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "loop":
        path.symlink_to(path)
    return {"device": Path("/dev/zero"), "NUL": Path("a\0b")}.get(request.param, path)


def test_what_is_no_file_is_refused_at_once(no_file: Path) -> None:
    with pytest.raises(CheckpointError) as raised:
        read_text(no_file, "a thing", CheckpointError, pipe=True)
    assert str(no_file) in str(raised.value)


def test_a_pipe_of_the_shell_is_read_to_its_end_where_that_will_do(tmp_path: Path) -> None:
    del tmp_path
    reader, writer = os.pipe()
    os.write(writer, b"a = 1\n")
    os.close(writer)
    path = Path(f"/dev/fd/{reader}")
    with pytest.raises(InputError, match="is a pipe, wanted a file"):
        read_text(path, "a thing")
    assert read_text(path, "a thing", pipe=True) == "a = 1\n"
    os.close(reader)


def test_a_path_that_is_not_there_is_its_readers_matter(tmp_path: Path) -> None:
    require_file(tmp_path / "none")
    with pytest.raises(InputError, match=r"cannot read a thing .*none: No such file"):
        read_text(tmp_path / "none", "a thing")


def test_another_file_that_reading_needs_is_named() -> None:
    with (
        pytest.raises(InputError, match=r"^cannot read a thing of: /its/cache: Permission denied$"),
        reading("a thing", "of"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", "/its/cache")


class OddError(Exception):
    """Raised by a library that tells nobody."""


@pytest.mark.parametrize(
    "thrown",
    [
        RecursionError(), MemoryError(), OverflowError("x"), EOFError(), KeyError("k"),
        AttributeError("a"), AssertionError(), RuntimeError("two\nlines"), OSError(5, "x"),
        OSError("bare"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), OddError(),
        NotImplementedError("z" * 10_000),
    ],
    ids=repr,
)  # fmt: skip
def test_whatever_a_reader_throws_is_one_line(thrown: Exception) -> None:
    with pytest.raises(ConfigError) as raised, reading("a thing", "FILE", ConfigError):
        raise thrown
    said = str(raised.value)
    assert "FILE" in said
    assert "a thing" in said
    assert len(said.splitlines()) == 1
    assert len(said) < 600
    assert raised.value.__cause__ is thrown


def test_an_error_that_says_where_passes_as_it_is() -> None:
    with pytest.raises(RecipeError, match=r"^line 3$"), reading("a thing", "FILE", ConfigError):
        raise RecipeError("line 3")


@pytest.mark.parametrize("left", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_leaving_is_not_an_error(left: type[BaseException]) -> None:
    with pytest.raises(left), reading("a thing", "FILE"):
        raise left


def test_the_deepest_that_is_allowed_can_be_used() -> None:
    value: Any = 1
    for _ in range(MOST_LEVELS - 1):
        value = [value]
    check_data(value, "FILE", "a thing")
    with pytest.raises(InputError, match="deeper than"):
        check_data([value], "FILE", "a thing")
    assert tomllib.loads("a = 18446744073709551615")["a"] == 2**64 - 1
    check_data(2**64 - 1, "FILE", "a thing")


SHAPE = {"n": int, "x": float, "names": [str], "inner": {"a": bool, "b?": PERHAPS, str: int}}
GOOD = {"n": 1, "x": 2, "names": ["u"], "inner": {"a": True, "b": None, "c": 3}, "more": object}


def test_a_shape_that_fits() -> None:
    check_shape(GOOD, SHAPE, "FILE")
    check_shape(GOOD | {"inner": {"a": False}}, SHAPE, "FILE")
    check_shape(None, (str, None.__class__), "FILE")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": True}, "FILE: n is True, wanted a whole number"),
        ({"n": 1.0}, "FILE: n is 1.0, wanted a whole number"),
        ({"x": float("nan")}, "FILE: x is nan, wanted a finite number"),
        ({"x": "1"}, "FILE: x is '1', wanted a number"),
        ({"names": "u"}, "FILE: names is 'u', wanted a list"),
        ({"names": ["u", 3]}, "FILE: names[1] is 3, wanted text"),
        ({"inner": []}, "FILE: inner is [], wanted a table"),
        ({"inner": {}}, "FILE: inner.a is missing"),
        ({"inner": {"a": True, "b": "x"}}, "FILE: inner.b is 'x', wanted"),
        ({"inner": {"a": True, "c": "x"}}, "FILE: inner.c is 'x', wanted a whole number"),
    ],
)
def test_another_shape_is_told_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        check_shape(GOOD | change, SHAPE, "FILE")
    assert str(raised.value).startswith(said)


def test_a_short_file_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("[run]")
    tracemalloc.start()
    try:
        assert read_text(tmp_path / "short.txt", "a text", most=MOST_BYTES) == "[run]"
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_no_more_is_read_than_may_be(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 3_000_000)
    assert len(read_text(tmp_path / "long.txt", "a text", most=3_000_000)) == 3_000_000
    with pytest.raises(InputError, match="it has more than 2999999 bytes"):
        read_text(tmp_path / "long.txt", "a text", most=2_999_999)
