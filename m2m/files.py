"""Files that are replaced in one step: the one way in which results reach the disk."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
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
    """Replace a file's content: a reader sees the old or the new, never a part.

    Args:
        path: The file.
        content: Its new content; text is written as UTF-8.
        durable: As in `replacing`.
    """
    with replacing(path, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file that takes the place of `path` when the block ends, or vanishes if anything goes wrong.

    A link is followed: what it points to is replaced, and it stays a link. Permissions stay those of the file
    that was there. Several processes may write the same file; the last one's stays. What a killed process
    left unfinished is cleared away by the next that writes the file.

    Args:
        path: The file.
        durable: Whether its content is forced to the disk before it takes the place, so that a power cut
            leaves the old or the new.

    Yields:
        BinaryIO: What to write to.

    Raises:
        OSError: If the system fails; it names `path`.
    """
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
    _clear_away(target)


def short_name(name: str, room: int) -> str:
    """Shorten a file's name so that something can be added to it.

    Args:
        name: The name.
        room: How many bytes are to be added.

    Returns:
        Its beginning.
    """
    return os.fsdecode(os.fsencode(name)[: NAME_MAX - room])


def _begin(target: Path) -> tuple[Path, BinaryIO]:
    """Return a new temporary file beside the target, locked, with the permissions that it shall have."""
    while True:
        name = f".{short_name(target.name, 24)}.{secrets.token_hex(4)}{UNFINISHED}"
        temporary = target.with_name(name)
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


def _clear_away(target: Path) -> None:
    """Remove unfinished versions of a file whose writers are dead: their locks are gone."""
    ours = re.compile(re.escape(f".{short_name(target.name, 24)}.") + f"[0-9a-f]{{8}}{re.escape(UNFINISHED)}")
    with suppress(OSError):
        for name in filter(ours.fullmatch, os.listdir(target.parent)):
            _remove_if_dead(target.with_name(name))


def _remove_if_dead(temporary: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            os.close(descriptor)
