"""Files and folders that appear in one step: the one way in which results reach the disk."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

#: Longest name that file systems in use take, in bytes; most say so themselves.
NAME_MAX = 255
#: Ends the name of a file that is still being written; no result is called so.
UNFINISHED = ".new"


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace a file's content: a reader sees the old or the new, never a part."""
    with replacing(path, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file that takes the place of `path` when the block ends, or vanishes if anything goes wrong."""
    # A link is followed: what it points to is replaced, and it stays a link. Permissions stay those of the
    # file that was there. Several processes may write the same file; the last one's stays. What a killed
    # process left unfinished is cleared away by the next that writes the file. `durable` forces the content
    # to the disk before it takes the place, so that a power cut leaves the old or the new.
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        temporary, file = _begin(target)
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.replace(temporary, target)  # while it is locked: nobody takes it for a dead process's
    except OSError as error:
        if error.filename in (None, str(temporary)):  # what the temporary file is called helps nobody
            error.filename = str(path)
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    clear_away(target, target.parent)


@contextmanager
def unfinished_folder(target: Path, parent: Path) -> Iterator[Path]:
    """Make a folder that becomes `target` once it is finished; it is the caller's to rename or to remove."""
    # What killed processes left unfinished of the same target is cleared away first.
    clear_away(target, parent)
    while True:
        work = parent / _unfinished_name(target)
        work.mkdir()
        try:
            descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # another process took it for a dead one's before it was locked
            continue
        try:
            with suppress(OSError):  # as for files
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if work.exists():
                yield work
                return
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the system's errors the name of the file: reading an open file tells none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def short_name(name: str, room: int) -> str:
    """Shorten a file's name so that `room` bytes can be added to it."""
    return os.fsdecode(os.fsencode(name)[: NAME_MAX - room])


def _begin(target: Path) -> tuple[Path, BinaryIO]:
    """Return a new temporary file beside the target, locked, with the permissions that it shall have."""
    while True:
        temporary = target.with_name(_unfinished_name(target))
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # not every file system has locks; nothing is cleared away there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            if temporary.exists():  # else another process took it for a dead one's before it was locked
                return temporary, os.fdopen(descriptor, "wb")
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def _unfinished_name(target: Path) -> str:
    return f".{short_name(target.name, 24)}.{secrets.token_hex(4)}{UNFINISHED}"


def clear_away(target: Path, parent: Path) -> None:
    """Remove unfinished versions of a file or folder whose writers are dead: their locks are gone."""
    ours = re.compile(re.escape(f".{short_name(target.name, 24)}.") + f"[0-9a-f]{{8}}{re.escape(UNFINISHED)}")
    with suppress(OSError):
        for name in filter(ours.fullmatch, os.listdir(parent)):
            _remove_if_dead(parent / name)


def _remove_if_dead(unfinished: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                shutil.rmtree(unfinished)
            else:
                unfinished.unlink()
        finally:
            os.close(descriptor)
