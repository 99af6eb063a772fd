"""Doors: where the user's files are read. Whatever a reader throws becomes one line that names the file.

Every reader of a file goes through `reading`, or through one of the functions here that do: parsers of
foreign input fail in more ways than their documentation lists, and a list of exceptions is never complete.
Only the reading stands inside, not the work that follows: a fault of ours is not to be taken for the file's.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from m2m.errors import InputError, M2MError
from m2m.support.schema import check_shape, repeated

#: A recipe, a configuration or results that are nested deeper mean nothing; Python's own limit is near 1,000.
MOST_LEVELS = 64
#: Longest document that is parsed as a whole: parsers take a hundred times as much memory.
MOST_BYTES = 256 * 2**20
_BLOCK_BYTES = 1 << 20
#: Longest whole number that readers of a file's content can be expected to hold.
_MOST_BITS = 64
#: How a pointer of Git LFS begins.
POINTER = b"version https://git-lfs."
#: What is shown of a reader's own message.
_MOST_LETTERS = 300


@contextmanager
def reading(what: str, path: Path | str, error: type[InputError] = InputError) -> Iterator[None]:
    """Guard reading `what`, as in `a merge recipe`: what goes wrong inside is one line, of class `error`."""
    try:
        yield
    except M2MError:
        raise
    except OSError as failure:
        why = failure.strerror or _said(failure)
        if str(failure.filename) not in {"None", str(path)}:  # a library's cache, say
            why = f"{failure.filename}: {why}"
        raise error(f"cannot read {what} {path}: {why}") from failure
    except UnicodeDecodeError as failure:
        raise error(f"{path} is not {what}: byte {failure.start} is not UTF-8 text") from failure
    except RecursionError as failure:
        raise error(f"{path} is not {what}: it is nested too deeply") from failure
    except MemoryError as failure:
        raise error(f"cannot read {what} {path}: it takes more memory than there is") from failure
    except Exception as failure:
        raise error(f"{path} is not {what}: {_said(failure)}") from failure


def require_file(
    path: Path, what: str = "a file", error: type[InputError] = InputError, *, pipe: bool = False
) -> None:
    """Refuse what is there but no file; `pipe` allows the shell's, for what is read only once."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not (pipe and stat.S_ISFIFO(mode) and _is_of_the_shell(path)):
        wanted = "" if what == "a file" else f" ({what})"
        raise error(f"{path} is {_kind(mode)}, wanted a file{wanted}")


def refuse_pointer(path: Path, beginning: bytes, error: type[InputError] = InputError) -> None:
    """Refuse what Git LFS leaves in a file's place where it was not fetched, told by how it begins."""
    if beginning.startswith(POINTER):
        raise error(
            f"{path}: is a pointer of Git LFS, not the file that it stands for: run git lfs pull in its "
            "folder"
        )


def read_text(
    path: Path,
    what: str,
    error: type[InputError] = InputError,
    *,
    pipe: bool = False,
    most: int | None = None,
) -> str:
    """Read UTF-8 text of at most `most` bytes; no byte order mark, all ends of lines alike."""
    require_file(path, what, error, pipe=pipe)
    with reading(what, path, error):
        with path.open("rb") as file:
            content = file.read() if most is None else _read_most(file, most)
        if most is not None and len(content) > most:
            raise error(f"{path} is not {what}: it has more than {most} bytes")
        refuse_pointer(path, content, error)
        text = content.decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _read_most(file: BinaryIO, most: int) -> bytes:
    # In blocks: Python sets aside at once what one call may bring, however short the file is.
    content = bytearray()
    while len(content) <= most and (block := file.read(_BLOCK_BYTES)):
        content += block
    return bytes(content)


def read_json(
    path: Path,
    what: str,
    error: type[InputError] = InputError,
    shape: Any = object,
    *,
    bits: int = _MOST_BITS,
) -> Any:
    """Read a JSON file of a shape (see `check_shape`); no name may occur twice in an object."""
    return _parsed(partial(json.loads, object_pairs_hook=unique_names), path, what, error, shape, bits)


def read_toml(path: Path, what: str, error: type[InputError] = InputError, shape: Any = object) -> Any:
    """Read a TOML file of a shape (see `check_shape`)."""
    return _parsed(tomllib.loads, path, what, error, shape)


def _parsed(
    parse: Callable[[str], Any],
    path: Path,
    what: str,
    error: type[InputError],
    shape: Any,
    bits: int = _MOST_BITS,
) -> Any:
    text = read_text(path, what, error, most=MOST_BYTES)
    with reading(what, path, error):
        content = parse(text)
    check_data(content, path, what, error, bits)
    check_shape(content, shape, f"{path} is not {what}", error)
    return content


def check_data(
    content: Any,
    path: Path | str,
    what: str,
    error: type[InputError] = InputError,
    most_bits: int = _MOST_BITS,
) -> None:
    """Refuse parsed data that nothing after it could hold: whoever copies, prints or stores it would fail."""
    todo = [(content, 1)]
    while todo:
        value, level = todo.pop()
        if level > MOST_LEVELS:
            raise error(f"{path} is not {what}: it is nested deeper than {MOST_LEVELS} levels")
        if isinstance(value, Mapping):
            todo += [(part, level + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple):
            todo += [(part, level + 1) for part in value]
        elif isinstance(value, int) and not -(2 ** (most_bits - 1)) <= value < 2**most_bits:
            bits = value.bit_length()
            raise error(
                f"{path} is not {what}: it holds a whole number of {bits} bits, wanted at most {most_bits}"
            )
        elif isinstance(value, str) and not value.isascii():
            _check_text(value, path, what, error)


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that occurs twice in a JSON object; for `json.loads(object_pairs_hook=...)`."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError(f"the name {repeated(name for name, _ in pairs)!r:.80} occurs twice")
    return table


def _check_text(text: str, path: Path | str, what: str, error: type[InputError]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise error(f"{path} is not {what}: {text!r:.80} is text that UTF-8 cannot hold") from None


def _is_of_the_shell(path: Path) -> bool:
    # Its other end is open already, so that reading ends; a named pipe's may never be.
    return os.path.realpath(path).startswith("/proc/")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _said(failure: Exception) -> str:
    # A reader's own message on one line; its kind where the message alone says little.
    said = " ".join(str(failure).split())
    if isinstance(failure, KeyError):
        said = f"{said} is missing"
    elif isinstance(failure, json.JSONDecodeError):
        # Text on one line stands in a line of some file, and a "line 1" would be a second, wrong one.
        place = said if "\n" in failure.doc.strip() else f"{failure.msg}: column {failure.colno}"
        said = f"not JSON: {place}"
    elif not said or isinstance(failure, TypeError | AttributeError | IndexError | AssertionError):
        said = f"{type(failure).__name__} {said}".strip()
    return said if len(said) <= _MOST_LETTERS else said[:_MOST_LETTERS] + "…"
