"""New folders appear all at once: everything is written beside them under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m2m.errors import RunFolderError
from m2m.support.files import naming, unfinished_folder
from m2m.support.outputs import MERGING

#: Name of the file that lists a finished folder's files with their hashes.
MANIFEST_NAME = "manifest.json"
#: What an empty volume may hold.
OF_THE_SYSTEM = frozenset({"lost+found"})


def check_free(folder: Path) -> None:
    """Refuse a folder that is to be made and holds something already (`RunFolderError`)."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {MERGING, *OF_THE_SYSTEM}:
        return
    if folder.exists() or folder.is_symlink():
        raise RunFolderError(
            f"{folder}: exists already; nothing is ever written over: choose another folder or remove it"
        )


#: What the system says where something else has the name.
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a temporary folder that becomes `folder` at the end, or vanishes if anything goes wrong."""
    folder = Path(os.path.realpath(folder))
    check_free(folder)
    parent = folder if must_fill(folder) else folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(folder, parent) as work:
        try:
            with naming(folder):  # a write does not say to what
                yield work
            publish(work, folder, durable=True)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def publish(work: Path, folder: Path, *, durable: bool) -> None:
    """Rename a finished folder to its final name; if it lies in that folder, rename what is in it."""
    if durable:  # it also survives a power cut
        for path in sorted(work.rglob("*"), reverse=True):
            _fsync(path)
        _fsync(work)
    try:
        if folder in work.parents:
            _fill(work, folder)
        else:
            work.rename(folder)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        raise RunFolderError(f"{folder}: cannot be put in place: {error.strerror}") from error
    if durable:
        _fsync(folder.parent)


def must_fill(folder: Path) -> bool:
    """Whether a new folder cannot take the place of the one that is there, as of a volume: it is filled."""
    if not folder.is_dir():
        return False
    return _is_mounted(folder) or not os.access(folder.parent, os.W_OK | os.X_OK, effective_ids=True)


def _is_mounted(folder: Path) -> bool:
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return os.path.ismount(folder)
    # The fifth field is the place, with blanks and the like as octal numbers.
    places = (line.split()[4].decode("unicode_escape").encode("latin-1") for line in mounts)
    return os.fsencode(os.path.realpath(folder)) in places


def _fill(work: Path, folder: Path) -> None:
    # The manifest is moved last, and everything back again if something goes wrong.
    moved: list[tuple[Path, Path]] = []
    try:
        for path in sorted(work.iterdir(), key=lambda path: (path.name == MANIFEST_NAME, path.name)):
            if os.path.lexists(folder / path.name):
                raise FileExistsError(errno.EEXIST, f"{path.name} appeared in the meantime")
            moved.append((path, folder / path.name))
            path.rename(folder / path.name)
        work.rmdir()
    except BaseException:
        for source, target in reversed(moved):
            if not os.path.lexists(source):
                target.rename(source)
        raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
