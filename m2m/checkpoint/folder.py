"""New folders appear all at once: everything is written beside them under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m2m.errors import RunFolderError


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Args:
        folder: A folder that is to be made.

    Raises:
        RunFolderError: If it exists and is not an empty folder.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise RunFolderError(
            f"{folder}: exists already; nothing is ever written over: choose another folder or remove it"
        )


#: What the system says where something else has the name.
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a temporary folder that becomes `folder` at the end, or vanishes if anything goes wrong.

    Args:
        folder: The folder to make; its parents are made as needed.

    Yields:
        Path: The temporary folder, on the same file system.

    Raises:
        RunFolderError: If `folder` exists and is not empty.
    """  # noqa: DOC502 - raised by what is called
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    try:
        work.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        yield work
        publish(work, folder, durable=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def publish(work: Path, folder: Path, *, durable: bool) -> None:
    """Rename a finished temporary folder to its final name.

    Args:
        work: The finished folder.
        folder: Its final name, on the same file system.
        durable: Whether every file is forced to the disk first, so that it also survives a power cut.

    Raises:
        RunFolderError: If something appeared under the final name in the meantime.
        OSError: If the system fails otherwise.
    """
    if durable:
        for path in sorted(work.rglob("*"), reverse=True):
            _fsync(path)
        _fsync(work)
    try:
        work.rename(folder)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        raise RunFolderError(f"{folder}: cannot be put in place: {error.strerror}") from error
    if durable:
        _fsync(folder.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
